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

	mu      sync.Mutex // guards stopped, so that no goroutine starts once Wait may have begun
	stopped bool
}

// New returns a group whose context derives from parent.
func New(parent context.Context) *Group {
	ctx, cancel := context.WithCancelCause(parent)
	return &Group{ctx: ctx, cancel: cancel}
}

// Context returns the context of the group; its cause is that of [Group.Stop].
func (g *Group) Context() context.Context { return g.ctx }

// Go runs f on a goroutine of the group. It reports false, and does not run f,
// once the group is stopped.
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

// Stop ends the context with cause and lets no further goroutine start. Only
// the first call has an effect.
func (g *Group) Stop(cause error) {
	g.mu.Lock()
	g.stopped = true
	g.mu.Unlock()
	g.cancel(cause)
}

// Wait returns when the group is stopped and all its goroutines have returned.
func (g *Group) Wait() {
	<-g.ctx.Done()
	g.mu.Lock()
	g.stopped = true // the parent's end stops the group too
	g.mu.Unlock()
	g.wg.Wait()
}
