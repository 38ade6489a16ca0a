//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package local

import (
	"context"

	"github.com/linkmesh/link/discovery"
)

// Registry implements discovery.Registry on systems with flock. On this system every call fails with
// ErrUnsupported.
type Registry struct{}

// New returns ErrUnsupported, or ErrInvalidConfig if cfg is invalid.
func New(cfg Config) (*Registry, error) {
	if _, err := cfg.withDefaults(); err != nil {
		return nil, err
	}
	return nil, ErrUnsupported
}

// Register returns ErrUnsupported.
func (*Registry) Register(context.Context, discovery.Instance) (discovery.Registration, error) {
	return nil, ErrUnsupported
}

// Watch returns ErrUnsupported.
func (*Registry) Watch(context.Context, discovery.Query) (<-chan discovery.Snapshot, error) {
	return nil, ErrUnsupported
}

// Find returns ErrUnsupported.
func (*Registry) Find(context.Context, discovery.TagQuery) (<-chan []string, error) {
	return nil, ErrUnsupported
}

// Describe implements discovery.Describer.
func (*Registry) Describe() string { return "local registry (unsupported on this system)" }

// Close does nothing.
func (*Registry) Close() error { return nil }

// Services returns ErrUnsupported.
func (*Registry) Services(context.Context, string) ([]string, error) { return nil, ErrUnsupported }
