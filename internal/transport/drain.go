package transport

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/internal/backoff"
	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/internal/wire"
)

// ErrDraining is the cause with which handlers are canceled that still run when
// the grace period of a drain is over.
var ErrDraining = errors.New("node is draining")

const (
	// goAwayDelay is the time between the two GOAWAYs, if no RTT is longer.
	goAwayDelay = 100 * time.Millisecond
	// cancelDelay is how long handlers that are canceled, or told to end, have to answer.
	cancelDelay = 100 * time.Millisecond
	// lingerTime is how long peers have to leave by themselves.
	lingerTime = time.Second
)

// drain is how far an endpoint has drained, and what it waits for.
type drain struct {
	// begun means that peers should go elsewhere, but calls are still taken. refusing means
	// that calls are refused.
	begun    atomic.Bool
	refusing atomic.Bool
	// started is closed when the drain begins, and over when it is over.
	started chan struct{}
	over    chan struct{}
	// active counts the calls and streams that handlers run, or that are being refused.
	active atomic.Int64
	// lasting counts the active streams that end when nothing else runs.
	lasting atomic.Int64
	// quiet is closed while refusing, once only lasting streams are left and settle has returned.
	quiet chan struct{}
	// idle is set when a call or stream has ended while refusing, and gone when the last
	// connection that a peer dialed has ended while refusing.
	idle     notify.Flag
	gone     notify.Flag
	handlers context.Context //nolint:containedctx // ends with a cause when what still runs is canceled
	cancel   context.CancelCauseFunc
}

// prepare makes the channels and the context.
func (d *drain) prepare() {
	d.started, d.over, d.quiet = make(chan struct{}), make(chan struct{}), make(chan struct{})
	d.idle, d.gone = notify.NewFlag(), notify.NewFlag()
	d.handlers, d.cancel = context.WithCancelCause(context.Background())
}

// Draining returns a channel that is closed when the endpoint begins to drain.
func (e *Endpoint) Draining() <-chan struct{} { return e.drain.started }

// Active returns how many incoming calls and streams are being handled.
func (e *Endpoint) Active() int { return int(e.drain.active.Load()) }

// begin counts a call that is about to be handled; end must follow.
func (e *Endpoint) begin() { e.drain.active.Add(1) }

func (e *Endpoint) end() {
	e.drain.active.Add(-1)
	if e.drain.refusing.Load() {
		e.drain.idle.Set()
	}
}

// Drain takes the node out of service without losing a call. It tells peers to go elsewhere,
// then refuses new calls, then waits for running calls and streams, lasting streams last, until
// ctx ends. Handlers that still run then are canceled with [ErrDraining].
//
// Before lasting streams are told to end, Drain calls settle, unless it is nil, and waits for it:
// settle may still produce something for them. settle must return soon after ctx has ended, and
// is not called if ctx ends first.
//
// Drain does not close connections. Only the first call acts; others wait until it is over or
// their ctx ends. The error is the cause of ctx if handlers had to be canceled.
func (e *Endpoint) Drain(ctx context.Context, settle func()) error {
	// A second drain would begin with a GOAWAY that takes back those of the first.
	if !e.drain.begun.CompareAndSwap(false, true) {
		select {
		case <-e.drain.over:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	close(e.drain.started)
	defer close(e.drain.over)
	wait := goAwayDelay
	sessions := e.acceptedSessions()
	for _, s := range sessions {
		s.announceDrain(wire.MaxVarint)
		wait = max(wait, min(s.RTT(), time.Second))
	}
	if len(sessions) > 0 {
		// If ctx ends first, awaitHandlers notices.
		_ = backoff.Sleep(ctx, wait)
	}
	e.drain.refusing.Store(true)
	for _, s := range e.acceptedSessions() {
		s.announceDrain(s.serving.lastID.Load())
	}
	if err := e.awaitHandlers(ctx, settle); err != nil {
		return err
	}
	e.linger(ctx)
	return nil
}

// awaitHandlers waits for calls and streams to end. It calls settle once only lasting streams
// are left, and cancels the handlers that still run when ctx ends.
func (e *Endpoint) awaitHandlers(ctx context.Context, settle func()) error {
	// settled is closed when settle has returned. It is nil before settle is called, and again
	// once the return has been noticed.
	var settled chan struct{}
	for quiet := false; !quiet || e.drain.active.Load() > 0; {
		if !quiet && settled == nil && e.drain.active.Load() <= e.drain.lasting.Load() {
			settled = make(chan struct{})
			go func() {
				defer close(settled)
				if settle != nil {
					settle()
				}
			}()
		}
		select {
		case <-settled:
			quiet, settled = true, nil
			close(e.drain.quiet)
		case <-e.drain.idle:
		case <-ctx.Done():
			if settled != nil {
				<-settled
				close(e.drain.quiet)
				e.awaitEnd()
			}
			if e.drain.active.Load() == 0 {
				return nil
			}
			e.drain.cancel(ErrDraining)
			e.awaitEnd()
			return context.Cause(ctx)
		}
	}
	return nil
}

// awaitEnd waits up to cancelDelay for handlers to end, so that canceled ones can answer.
func (e *Endpoint) awaitEnd() {
	t := time.NewTimer(cancelDelay)
	defer t.Stop()
	for e.drain.active.Load() > 0 {
		select {
		case <-e.drain.idle:
		case <-t.C:
			return
		}
	}
}

// linger waits up to lingerTime for peers to leave, which they do once their calls are
// answered. A CONNECTION_CLOSE would overtake replies that are still queued.
func (e *Endpoint) linger(ctx context.Context) {
	t := time.NewTimer(lingerTime)
	defer t.Stop()
	for len(e.acceptedSessions()) > 0 {
		select {
		case <-e.drain.gone:
		case <-t.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// announceDrain tells the peer that this node takes no new calls.
func (s *Session) announceDrain(last uint64) {
	s.control.send(func(b []byte) []byte {
		b = wire.AppendHealth(b, &wire.Health{State: wire.StateDraining})
		return wire.AppendGoAway(b, &wire.GoAway{LastStream: last, Reason: ErrDraining.Error()})
	})
}

// AnnounceTags tells all peers, those that connected and those that were dialed,
// that the node's tags have changed. It retains tags.
func (e *Endpoint) AnnounceTags(tags []string) {
	e.tags.Store(&tags)
	e.known.mu.Lock()
	sessions := slices.Collect(maps.Keys(e.known.sessions))
	e.known.mu.Unlock()
	for _, s := range sessions {
		s.announceTags(tags)
	}
}

// AnnounceRoutes tells all peers of routes that were added after they
// connected.
func (e *Endpoint) AnnounceRoutes(first uint64, routes []wire.RouteInfo) {
	for _, s := range e.acceptedSessions() {
		s.announceRoutes(first, routes)
	}
}
