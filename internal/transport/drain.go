package transport

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/linkmesh/link/internal/wire"
)

// ErrDraining is the cause with which handlers are canceled that still run when
// the grace of a drain is over.
var ErrDraining = errors.New("node is draining")

const (
	goAwayDelay = 100 * time.Millisecond // between the two GOAWAYs, if no RTT is longer
	cancelDelay = 100 * time.Millisecond // for handlers that are canceled, or told to end, to answer
	lingerTime  = time.Second            // for peers to leave by themselves
)

// Drain takes the node out without losing a call: it tells peers to go
// elsewhere, then refuses new calls, then waits for those that run, lasting streams
// last, at most until ctx ends; what still runs then is canceled with [ErrDraining]. Before
// lasting streams are told to end, it calls settle, unless that is nil, and waits for it: what
// that does may still have something for them. It must return soon after ctx has ended, and is
// not called if that is before. Drain does not close connections. Only the first call acts; others wait until it is over, or
// their ctx ends.
//
// The error is ctx's if handlers had to be canceled.
func (e *Endpoint) Drain(ctx context.Context, settle func()) error {
	if !e.draining.CompareAndSwap(false, true) { // a second GOAWAY from the beginning would take back the first
		select {
		case <-e.drainOver:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	close(e.drainDone)
	defer close(e.drainOver)
	wait := goAwayDelay
	sessions := e.acceptedSessions()
	for _, s := range sessions {
		s.announceDrain(wire.MaxVarint)
		wait = max(wait, min(s.RTT(), time.Second))
	}
	if len(sessions) > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
	e.refusing.Store(true)
	for _, s := range e.acceptedSessions() {
		s.announceDrain(uint64(s.lastID.Load()))
	}
	if err := e.awaitHandlers(ctx, settle); err != nil {
		return err
	}
	e.linger(ctx)
	return nil
}

// awaitHandlers waits for calls and streams to end, calls settle in between, and cancels what
// runs when ctx ends.
func (e *Endpoint) awaitHandlers(ctx context.Context, settle func()) error {
	var settled chan struct{} // closed when settle has returned; nil before it is called, and after that
	for quiet := false; !quiet || e.active.Load() > 0; {
		if !quiet && settled == nil && e.active.Load() <= e.lasting.Load() {
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
			close(e.quiet)
		case <-e.idle:
		case <-ctx.Done():
			if settled != nil {
				<-settled
				close(e.quiet)
				e.awaitEnd()
			}
			if e.active.Load() == 0 {
				return nil
			}
			e.cancelRun(ErrDraining)
			e.awaitEnd()
			return context.Cause(ctx)
		}
	}
	return nil
}

// awaitEnd gives handlers a moment to end: those that were canceled, to answer.
func (e *Endpoint) awaitEnd() {
	t := time.NewTimer(cancelDelay)
	defer t.Stop()
	for e.active.Load() > 0 {
		select {
		case <-e.idle:
		case <-t.C:
			return
		}
	}
}

// linger waits for peers to leave, which they do once their calls are answered:
// a CONNECTION_CLOSE would overtake replies that are still queued.
func (e *Endpoint) linger(ctx context.Context) {
	t := time.NewTimer(lingerTime)
	defer t.Stop()
	for len(e.acceptedSessions()) > 0 {
		select {
		case <-e.gone:
		case <-t.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (e *Endpoint) acceptedSessions() []*Session {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]*Session, 0, e.accepted)
	for s := range e.sessions {
		if !s.dialed {
			out = append(out, s)
		}
	}
	return out
}

// announceDrain tells the peer that this node takes no new calls.
func (s *Session) announceDrain(last uint64) {
	s.control.send(func(b []byte) []byte {
		b = wire.AppendHealth(b, &wire.Health{State: wire.StateDraining})
		return wire.AppendGoAway(b, &wire.GoAway{LastStream: last, Reason: ErrDraining.Error()})
	})
}

// AnnounceTags tells all peers, those that connected and those that were dialed,
// that the node's tags have changed. It keeps tags.
func (e *Endpoint) AnnounceTags(tags []string) {
	e.tags.Store(&tags)
	e.mu.Lock()
	sessions := slices.Collect(maps.Keys(e.sessions))
	e.mu.Unlock()
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
