package link

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
	"time"

	"github.com/linkmesh/link/internal/transport"
)

// isDraining reports whether Shutdown has begun.
func (n *Node) isDraining() bool {
	select {
	case <-n.shutdown:
		return true
	default:
		return false
	}
}

// Shutdown takes the node out of the mesh without failing a call: it starts the
// functions of [Node.OnDrain], marks the node as draining in the registry, tells peers
// to go elsewhere, refuses new calls, waits for running calls and for these functions
// and those of [Host.OnLastCall], and closes the node, which withdraws it from the registry. If ctx ends first, what still runs is canceled with [ErrDraining]
// and the error is ctx's. Shutdown of a closed node does nothing.
func (n *Node) Shutdown(ctx context.Context) error {
	n.mu.Lock()
	if n.state == stateClosed || n.state == stateDraining {
		n.mu.Unlock()
		select {
		case <-n.closed:
			return nil
		case <-ctx.Done():
			return failed("shutdown", ctx.Err())
		}
	}
	ran := n.state == stateRunning || n.state == stateStarting
	n.state = stateDraining
	e := n.endpoint.Load()
	close(n.shutdown)
	n.mu.Unlock()

	var errs []error
	wait := n.callDrain(ctx, &n.drains.begin)
	var late error
	settle := sync.OnceFunc(func() { late = errors.Join(wait(), n.callDrain(ctx, &n.drains.quiet)()) })
	if ran {
		if err := n.presence.Drain(ctx); err != nil && ctx.Err() == nil {
			n.cfg.Logger.Warn("link: could not mark this node as draining in the registry; peers are told directly", "error", err)
		}
		if err := e.Drain(ctx, settle); err != nil {
			errs = append(errs, Errorf(DeadlineExceeded, "handlers still ran when the drain ended: %w", err))
		}
	}
	// This does nothing if Drain has called settle, and waits if that call still runs.
	settle()
	if err := joined(append(errs, late, n.Close())...); err != nil {
		return failed("shutdown", err)
	}
	return nil
}

// Close ends the node at once: it withdraws from the registry, cancels what
// runs, closes all connections and waits for every goroutine. Calls in flight
// fail with Unavailable. Handlers that ignore for 5 s that their context is
// canceled are left behind and reported. Close is idempotent.
func (n *Node) Close() error {
	n.mu.Lock()
	if n.state == stateClosed {
		n.mu.Unlock()
		<-n.closed
		return nil
	}
	n.state = stateClosed
	e := n.endpoint.Load()
	n.mu.Unlock()

	var errs []error
	errs = append(errs, n.presence.Close())
	n.group.Stop(errNodeClosed)
	if e != nil {
		errs = append(errs, e.Close())
	} else if n.cfg.Socket != nil {
		errs = append(errs, n.cfg.Socket.Close())
	}
	n.group.Wait()
	errs = append(errs, n.closeOwned())
	close(n.closed)
	err := errors.Join(errs...)
	if errors.Is(err, transport.ErrStuck) {
		return failed("close", Errorf(DeadlineExceeded, "%w", err))
	}
	if err != nil {
		return failed("close", err)
	}
	return nil
}

// drainWait is how long the functions of [Node.OnDrain] and [Host.OnLastCall] have to
// return once the time for the drain is over.
const drainWait = time.Second

// OnDrain makes the node call f when it begins to drain, in [Node.Run] or
// [Node.Shutdown], while handlers still run. It is for stopping what makes new work,
// such as a timer or a consumer, or for waiting until other nodes have what they are
// owed. The node does not close before f has returned.
//
// Functions run concurrently, each once. The context of f ends when the time for the
// drain is over ([Limits.DrainTimeout], or the context of Shutdown). f should return
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
				errs = append(errs, Errorf(DeadlineExceeded, "%d functions registered with OnDrain or OnLastCall were still running %v after their contexts ended", left, drainWait))
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
			n.cfg.Logger.Error("link: a function registered with OnDrain or OnLastCall panicked", "panic", p, "stack", string(debug.Stack()))
			err = Errorf(Internal, "a function registered with OnDrain or OnLastCall panicked: %v", p)
		}
	}()
	return f(ctx)
}
