package link

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
	"time"
)

// drainWait is how long the functions of [Node.OnDrain] and [Host.OnLastCall] have to
// return once the time for the drain is over.
const drainWait = time.Second

// drainFuncs are the functions that a node calls when it drains.
type drainFuncs struct {
	mu    sync.Mutex // guards the fields below
	begin []func(context.Context) error
	quiet []func(context.Context) error
}

// OnDrain makes the node call f when it begins to drain, in [Node.Run] or
// [Node.Shutdown], while handlers still run. It is for stopping what makes new work,
// such as a timer or a consumer, or for waiting until other nodes have what they are
// owed. The node does not close before f has returned.
//
// Functions run concurrently, each once. The context of f ends when the time for the
// drain is over ([Config.DrainTimeout], or the context of Shutdown). f should return
// soon after that; the node stops waiting for it 1 s later. Until then f can call, push
// and publish: subscriptions of peers end, and pipeline queues close, only when all
// functions have returned and nothing runs that could still have something for them.
// An error or a panic of f is part of what Run and Shutdown return. [Node.Close] alone
// does not call f, and neither does a drain that began before OnDrain was called.
func (n *Node) OnDrain(f func(ctx context.Context) error) {
	n.drains.mu.Lock()
	defer n.drains.mu.Unlock()
	n.drains.begin = append(n.drains.begin, f)
}

// OnLastCall makes the node call f late in a drain: when only [LongLived] handlers still run
// and the functions of [Node.OnDrain] have returned, but connections and lasting streams
// are still open. It is for sending or saving what the others have left; the pipeline
// drains the queues of the node here. What f publishes is delivered after f has returned.
// If the time for the drain is over by then, the context of f has ended already.
// Otherwise OnLastCall is like OnDrain.
func (h Host) OnLastCall(f func(ctx context.Context) error) {
	n := h.node
	n.drains.mu.Lock()
	defer n.drains.mu.Unlock()
	n.drains.quiet = append(n.drains.quiet, f)
}

// callDrain starts the functions of list and empties it. It returns a function that waits
// for them, until drainWait after the end of ctx.
func (n *Node) callDrain(ctx context.Context, list *[]func(context.Context) error) (wait func() error) {
	n.drains.mu.Lock()
	funcs := *list
	*list = nil
	n.drains.mu.Unlock()
	results := make(chan error, len(funcs))
	for _, f := range funcs {
		go func() { results <- n.callOne(ctx, f) }()
	}
	return func() error {
		var errs []error
		var over <-chan time.Time
		done := ctx.Done()
		for left := len(funcs); left > 0; {
			select {
			case err := <-results:
				errs = append(errs, err)
				left--
			case <-done:
				timer := time.NewTimer(drainWait)
				defer timer.Stop()
				done, over = nil, timer.C
			case <-over:
				errs = append(errs, Errorf(DeadlineExceeded, "%d functions of OnDrain or OnLastCall have not returned %v after their context ended", left, drainWait))
				left = 0
			}
		}
		return errors.Join(errs...)
	}
}

// callOne calls f and turns a panic of f into an error.
func (n *Node) callOne(ctx context.Context, f func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			n.cfg.Logger.Error("link: a function of OnDrain or OnLastCall panicked", "panic", p, "stack", string(debug.Stack()))
			err = Errorf(Internal, "a function of OnDrain or OnLastCall panicked: %v", p)
		}
	}()
	return f(ctx)
}
