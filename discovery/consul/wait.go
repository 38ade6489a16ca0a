package consul

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/linkmesh/link/internal/lifecycle"
)

// bind returns a copy of ctx that also ends when the context of group ends.
func bind(ctx context.Context, group *lifecycle.Group) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	undo := context.AfterFunc(group.Context(), func() { cancel(context.Cause(group.Context())) })
	return ctx, func() {
		undo()
		cancel(nil)
	}
}

// spread returns a random duration from least to most.
func spread(least, most time.Duration) time.Duration {
	return least + rand.N(most-least+1) //nolint:gosec // chance keeps clients apart, not secrets
}
