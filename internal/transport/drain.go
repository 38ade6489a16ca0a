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
	cancelDelay = 100 * time.Millisecond // for canceled handlers to answer
	lingerTime  = time.Second            // for peers to leave by themselves
)

// Drain takes the node out without losing a call: it tells peers to go
// elsewhere, then refuses new calls, then waits for those that run, lasting streams
// last, at most until ctx ends; what still runs then is canceled with [ErrDraining]. It does
// not close connections. Only the first call acts; others wait until it is over, or
// their ctx ends.
//
// The error is ctx's if handlers had to be canceled.
func (e *Endpoint) Drain(ctx context.Context) error {
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
	quiet := false
	for e.active.Load() > 0 {
		if !quiet && e.active.Load() <= e.lasting.Load() {
			quiet = true
			close(e.quiet)
		}
		select {
		case <-e.idle:
		case <-ctx.Done():
			e.cancelRun(ErrDraining)
			e.awaitCanceled()
			return context.Cause(ctx)
		}
	}
	e.linger(ctx)
	return nil
}

// awaitCanceled gives canceled handlers a moment to answer.
func (e *Endpoint) awaitCanceled() {
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
