package integration

import (
	"context"

	"github.com/linkmesh/link/discovery"
)

// nothing is a registry that takes every instance and shows none, for servers that a test announces
// by itself.
type nothing struct{}

func (nothing) Register(_ context.Context, _ discovery.Instance) (discovery.Registration, error) {
	return nothing{}, nil
}

func (nothing) Watch(ctx context.Context, _ discovery.Query) (<-chan discovery.Snapshot, error) {
	ch := make(chan discovery.Snapshot)
	context.AfterFunc(ctx, func() { close(ch) })
	return ch, nil
}

func (nothing) Update(context.Context, discovery.Instance) error { return nil }

func (nothing) Close() error { return nil }
