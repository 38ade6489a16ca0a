package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/internal/wire"
)

// callInfo is what the functions of this package read from the context of a
// handler.
type callInfo struct {
	session *transport.Session
	handler *handler
	// headers is nil once the handler has returned, because its buffer is reused.
	headers *wire.HeadersView

	// mu guards headers, metadata and the embedding context.
	mu       sync.Mutex
	metadata Metadata
	// reply is written by one goroutine at a time; see SetReplyMeta.
	reply Metadata
}

// readMetadata copies the caller's metadata out of the receive buffer at the
// first call.
func (i *callInfo) readMetadata() Metadata {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.headers != nil && i.metadata.pairs == nil {
		i.metadata.pairs = i.headers.Metadata.AppendTo(nil)
	}
	return i.metadata
}

type infoKey struct{}

// infoOf returns the callInfo in the context of a handler, nil in other contexts.
func infoOf(ctx context.Context) *callInfo {
	info, _ := ctx.Value(infoKey{}).(*callInfo)
	return info
}

// RouteOf returns the route of the call that ctx, the context of a handler,
// belongs to. For other contexts it returns the zero Route.
func RouteOf(ctx context.Context) Route {
	if info := infoOf(ctx); info != nil {
		return info.handler.route
	}
	return Route{}
}

// Caller returns the peer that called, if ctx is the context of a handler;
// otherwise the zero Peer.
func Caller(ctx context.Context) Peer {
	if info := infoOf(ctx); info != nil {
		return peerOf(info.session)
	}
	return Peer{}
}

// IdempotencyKeyOf returns the key that the caller gave with [IdempotencyKey], or
// "" if it gave none. ctx must be the context of a handler that has not returned;
// otherwise the result is "".
func IdempotencyKeyOf(ctx context.Context) string {
	info := infoOf(ctx)
	if info == nil {
		return ""
	}
	info.mu.Lock()
	defer info.mu.Unlock()
	if info.headers == nil {
		return ""
	}
	return string(info.headers.Idempotency)
}

// MetadataOf returns the metadata that the caller sent, if ctx is the context of
// a handler; otherwise the result is empty. It must be called before the handler
// returns; the result stays valid after that.
func MetadataOf(ctx context.Context) Metadata {
	if info := infoOf(ctx); info != nil {
		return info.readMetadata()
	}
	return Metadata{}
}

// SetReplyMeta adds a pair to the metadata of the reply, which travels beside its
// message or its error. ctx is the context of the handler. SetReplyMeta must be
// called before the handler returns, by one goroutine at a time. Outside a handler,
// and if the pair breaks a rule of [Metadata], it does nothing and reports false.
func SetReplyMeta(ctx context.Context, key, value string) bool {
	info := infoOf(ctx)
	if info == nil {
		return false
	}
	next := Metadata{slices.Clone(info.reply.pairs)}.with(key, value)
	if next.validate() != nil {
		return false
	}
	info.reply = next
	return true
}

// callContext is the context of one incoming unary call. Most handlers never
// ask whether it has ended, so the machinery for that is made on demand.
type callContext struct {
	callInfo

	deadline time.Time
	caller   context.Context //nolint:containedctx // ends when the caller is gone; this type is a context
	finished bool
	// watch is made by started, at first use.
	watch *callWatch
}

// callWatch is the part of a callContext that does the work.
type callWatch struct {
	context.Context //nolint:containedctx // this type is a context

	cancel  context.CancelCauseFunc
	release context.CancelFunc
	stop    [2]func() bool
}

// Deadline implements context.Context.
func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Value implements context.Context.
func (c *callContext) Value(key any) any {
	switch key.(type) {
	case infoKey:
		return &c.callInfo
	case *int:
		// The context package looks for its own cancellation this way, to find
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
	watch, finished := c.watch, c.finished
	c.mu.Unlock()
	if watch != nil {
		return watch.Err()
	}
	switch {
	case finished, c.caller.Err() != nil, c.session.Handlers().Err() != nil:
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
	if c.watch != nil {
		return c.watch
	}
	timed, release := context.WithDeadlineCause(context.Background(), c.deadline, ErrDeadline)
	inner, cancel := context.WithCancelCause(timed)
	c.watch = &callWatch{Context: inner, cancel: cancel, release: release}
	if c.finished {
		cancel(ErrFinished)
		release()
		return c.watch
	}
	node := c.session.Handlers()
	// Cancel at once, because Err may have reported the end already.
	switch {
	case c.caller.Err() != nil:
		cancel(callerGone(c.session))
	case node.Err() != nil:
		cancel(nodeCause(node))
	}
	c.watch.stop[0] = context.AfterFunc(c.caller, func() { cancel(callerGone(c.session)) })
	c.watch.stop[1] = context.AfterFunc(node, func() { cancel(nodeCause(node)) })
	return c.watch
}

// finish ends the context when the handler has returned.
func (c *callContext) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finished = true
	c.headers = nil
	if w := c.watch; w != nil {
		w.stop[0]()
		w.stop[1]()
		w.cancel(ErrFinished)
		w.release()
	}
}

// callerGone returns the cause for a handler whose caller canceled or was lost.
func callerGone(s *transport.Session) error {
	if s.Gone() {
		return errCallerEnded
	}
	return ErrCallerGone
}

var errCallerEnded = fmt.Errorf("%w: %w", ErrCallerGone, ErrProcessGone)

func nodeCause(node context.Context) error {
	if errors.Is(context.Cause(node), transport.ErrDraining) {
		return ErrDraining
	}
	return errors.Join(ErrDraining, context.Cause(node))
}
