// Package lifecycle gives every goroutine an owner that waits for it.
//
// # Concurrency
//
// All methods are safe for concurrent use.
package lifecycle

import (
	"context"
	"sync"
)

// Group owns goroutines. Its context ends when the group is stopped.
type Group struct {
	ctx    context.Context //nolint:containedctx // the group is the owner of this context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	// mu guards stopped, so that no goroutine starts after Wait has begun to wait for wg.
	mu      sync.Mutex
	stopped bool
}

// New returns a group whose context derives from parent.
func New(parent context.Context) *Group {
	ctx, cancel := context.WithCancelCause(parent)
	return &Group{ctx: ctx, cancel: cancel}
}

// Context returns the context of the group. Its cause is the one given to [Group.Stop].
func (g *Group) Context() context.Context { return g.ctx }

// Go runs f on a new goroutine of the group. Once the group is stopped, it returns
// false and does not run f.
func (g *Group) Go(f func(ctx context.Context)) bool {
	g.mu.Lock()
	if g.stopped {
		g.mu.Unlock()
		return false
	}
	g.wg.Add(1)
	g.mu.Unlock()
	go func() {
		defer g.wg.Done()
		f(g.ctx)
	}()
	return true
}

// Stop cancels the context with cause and prevents further goroutines. Only the
// first call has an effect.
func (g *Group) Stop(cause error) {
	g.mu.Lock()
	g.stopped = true
	g.mu.Unlock()
	g.cancel(cause)
}

// Wait blocks until the group is stopped, or its parent context is done, and all its
// goroutines have returned.
func (g *Group) Wait() {
	<-g.ctx.Done()
	g.mu.Lock()
	g.stopped = true
	g.mu.Unlock()
	g.wg.Wait()
}
