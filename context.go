package link

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/linkmesh/link/internal/transport"
)

// The causes with which the context of a handler ends, by context.Cause.
var (
	ErrCallerGone = errors.New("the caller is gone")       // it canceled, or its connection ended
	ErrDeadline   = errors.New("the call is out of time")  // the deadline that the caller sent, or Limits.MaxCallTime
	ErrDraining   = errors.New("the node drains")          // the grace of the drain is over
	ErrFinished   = errors.New("the handler has returned") // what outlives a handler must not use its context
)

// callInfo is what the functions of this package read from the context of a
// handler.
type callInfo struct {
	session  *transport.Session
	route    Route
	metadata Metadata
	reply    Metadata
	attempt  int
	key      string
}

type infoKey struct{}

func infoOf(ctx context.Context) *callInfo {
	info, _ := ctx.Value(infoKey{}).(*callInfo) // nil outside a handler
	return info
}

// RouteOf returns the route of the call that ctx belongs to, in a handler;
// elsewhere the zero Route.
func RouteOf(ctx context.Context) Route {
	if info := infoOf(ctx); info != nil {
		return info.route
	}
	return Route{}
}

// IdempotencyKeyOf returns the key that the caller gave with [IdempotencyKey],
// in the context of a handler; elsewhere and if it gave none, "".
func IdempotencyKeyOf(ctx context.Context) string {
	if info := infoOf(ctx); info != nil {
		return info.key
	}
	return ""
}

// callContext is the context of one incoming unary call. Most handlers never
// ask whether it ended, so that machinery is made when somebody does.
type callContext struct {
	callInfo

	deadline time.Time
	caller   context.Context //nolint:containedctx // ends when the caller is gone; this type is a context
	node     context.Context //nolint:containedctx // ends when the node cancels its handlers

	mu       sync.Mutex      // guards the fields below
	inner    context.Context //nolint:containedctx // made when it is asked for
	cancel   context.CancelCauseFunc
	stop     [2]func() bool
	release  context.CancelFunc
	finished bool
}

// Deadline implements context.Context.
func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Value implements context.Context.
func (c *callContext) Value(key any) any {
	switch key.(type) {
	case infoKey:
		return &c.callInfo
	case *int:
		// The context package looks for its own cancelation this way, to find
		// causes and to watch without a goroutine.
		return c.started().Value(key)
	}
	return nil
}

// Done implements context.Context.
func (c *callContext) Done() <-chan struct{} { return c.started().Done() }

// Err implements context.Context.
func (c *callContext) Err() error {
	c.mu.Lock()
	inner, finished := c.inner, c.finished
	c.mu.Unlock()
	if inner != nil {
		return inner.Err()
	}
	switch {
	case finished, c.caller.Err() != nil, c.node.Err() != nil:
		return context.Canceled
	case !time.Now().Before(c.deadline):
		return context.DeadlineExceeded
	}
	return nil
}

// started returns the context that does the work, making it at first use.
func (c *callContext) started() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner != nil {
		return c.inner
	}
	timed, release := context.WithDeadlineCause(context.Background(), c.deadline, ErrDeadline)
	inner, cancel := context.WithCancelCause(timed)
	c.inner, c.cancel, c.release = inner, cancel, release
	if c.finished {
		cancel(ErrFinished)
		release()
		return inner
	}
	c.stop[0] = context.AfterFunc(c.caller, func() { cancel(ErrCallerGone) })
	c.stop[1] = context.AfterFunc(c.node, func() { cancel(nodeCause(c.node)) })
	return inner
}

// finish ends the context when the handler has returned.
func (c *callContext) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finished = true
	if c.inner != nil {
		c.stop[0]()
		c.stop[1]()
		c.cancel(ErrFinished)
		c.release()
	}
}

func nodeCause(node context.Context) error {
	if errors.Is(context.Cause(node), transport.ErrDraining) {
		return ErrDraining
	}
	return errors.Join(ErrDraining, context.Cause(node))
}
