//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package local

import (
	"context"
	"errors"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/internal/errtext"
)

// errUnsupported is the error on this operating system, which has no flock.
var errUnsupported = errtext.New("local: host-local discovery needs a POSIX system with flock; "+
	"use discovery/static or another registry", errors.ErrUnsupported)

// Registry implements discovery.Registry on systems with flock. On this system every call fails with
// an error that matches errors.ErrUnsupported.
type Registry struct{}

// New returns an error that matches errors.ErrUnsupported, or discovery.ErrInvalidConfig if cfg is
// invalid.
func New(cfg Config) (*Registry, error) {
	if _, err := cfg.withDefaults(); err != nil {
		return nil, err
	}
	return nil, errUnsupported
}

// Register returns an error that matches errors.ErrUnsupported.
func (*Registry) Register(context.Context, discovery.Instance) (discovery.Registration, error) {
	return nil, errUnsupported
}

// Watch returns an error that matches errors.ErrUnsupported.
func (*Registry) Watch(context.Context, discovery.Query) (<-chan discovery.Snapshot, error) {
	return nil, errUnsupported
}

// Find returns an error that matches errors.ErrUnsupported.
func (*Registry) Find(context.Context, discovery.TagQuery) (<-chan []string, error) {
	return nil, errUnsupported
}

// Describe implements discovery.Describer.
func (*Registry) Describe() string { return "local registry (unsupported on this system)" }

// Close does nothing.
func (*Registry) Close() error { return nil }

// Services returns an error that matches errors.ErrUnsupported.
func (*Registry) Services(context.Context, string) ([]string, error) { return nil, errUnsupported }
