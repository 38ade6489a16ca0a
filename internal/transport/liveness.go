package transport

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/internal/clock"
	"github.com/linkmesh/link/internal/wire"
)

// A peer that is gone says nothing, and neither does one that is frozen. What is known of it
// is how long it has been silent although an answer is due, as [Limits.Silence] says, S for short:
//
//   - S/8 after the last packet a peer with calls or unacknowledged data is asked for a sign of
//     life, S after it one that has only streams; and its host is asked whether anybody listens.
//   - A peer that has not answered S/4 after that is in doubt: new calls go elsewhere, and calls that
//     may run twice are moved there.
//   - A peer that was silent for 2 S is given up, and at once when its host says that
//     nobody listens.
//
// Any packet is an answer. Round trips that are slow, because the network is long or the peer is
// overloaded, stretch these times: three probe timeouts (RFC 9002, section 6.2) pass before a peer
// is given up, and two before it is in doubt.
//
// Silence is counted in looks, each of which counts for at most twice the time between two: a process
// that was itself frozen or had no processor does not blame its peers.
type liveness struct {
	wake   chan struct{} // holds a token when somebody is to be looked at soon
	dozing atomic.Bool   // nobody is looked at, or seldom
}

// pulse is what is known of the life of a session's peer. The goroutine that looks
// uses it alone.
type pulse struct {
	received uint64        // packets, when the last came
	sent     uint64        // packets, then
	silent   time.Duration // since then
	asked    time.Duration // silent, when the peer was asked; 0: it was not
	answered uint          // times that it was asked and lived since a call began to last
	watched  bool          // the above is up to date
	knocking sync.Mutex    // held by who knocks
}

// urgency is how soon a session must be looked at again.
type urgency uint8

const (
	unhurried urgency = iota // whenever something happens
	patient                  // in S/2: it has streams
	urgent                   // in S/16: calls wait for it, or it was asked
)

// minLook is the shortest time between two looks, however small Limits.Silence is.
const minLook = 5 * time.Millisecond

// alert makes the endpoint look at its peers soon.
func (e *Endpoint) alert() {
	if e.liveness.dozing.Swap(false) {
		select {
		case e.liveness.wake <- struct{}{}:
		default: // it holds a token already
		}
	}
}

// attend is the goroutine that watches over the lives of peers.
func (e *Endpoint) attend(ctx context.Context) {
	l := &e.liveness
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	var sessions []*Session
	last, pace := time.Now(), time.Duration(0)
	for {
		now := time.Now()
		awake := min(now.Sub(last), 2*pace)
		last = now
		var need urgency
		if need, sessions = e.lookAll(sessions[:0], awake); need != urgent {
			l.dozing.Store(true)
			// What happened before it could see that we doze is found here.
			need, sessions = e.lookAll(sessions[:0], 0)
		}
		switch need {
		case urgent:
			pace = max(e.limits.Silence/16, minLook)
		case patient:
			pace = max(e.limits.Silence/2, minLook)
		case unhurried:
			pace = 0 // until then nobody is silent
		}
		if !e.pause(ctx, timer, pace) {
			return
		}
	}
}

// pause waits until it is time to look again. It reports false when ctx ends.
func (e *Endpoint) pause(ctx context.Context, timer *time.Timer, pace time.Duration) bool {
	if pace > 0 {
		timer.Reset(pace)
	}
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-e.liveness.wake:
		timer.Stop()
	}
	e.liveness.dozing.Store(false)
	return true
}

// lookAll looks at all sessions and says how soon to look again.
func (e *Endpoint) lookAll(sessions []*Session, awake time.Duration) (urgency, []*Session) {
	e.mu.Lock()
	for s := range e.sessions {
		sessions = append(sessions, s)
	}
	e.mu.Unlock()
	need := unhurried
	for _, s := range sessions {
		need = max(need, s.look(awake))
	}
	clear(sessions)
	return need, sessions
}

// look looks for signs of life of the peer. Awake is the time since the last look.
func (s *Session) look(awake time.Duration) urgency {
	p, limits := &s.pulse, &s.endpoint.limits
	streams := s.streams.Load()
	calls := s.dialed && s.active.Load() > streams
	suspected := s.suspected.Swap(false)
	if s.ended() || !calls && streams == 0 && p.asked == 0 && !suspected {
		p.watched = false
		return unhurried
	}
	stats := s.conn.ConnectionStats()
	switch heard := stats.PacketsReceived != p.received; {
	case heard || !p.watched:
		if p.asked != 0 {
			p.answered++
		}
		p.received, p.sent, p.silent, p.asked, p.watched = stats.PacketsReceived, stats.PacketsSent, 0, 0, true
		s.doubted.Store(false)
	default:
		p.silent += awake
	}
	if s.fresh.Swap(false) {
		p.answered = 0
	}
	pto := stats.SmoothedRTT + max(4*stats.MeanDeviation, time.Millisecond) + maxAckDelay
	switch since := p.silent - p.asked; {
	case p.asked == 0:
		if suspected || p.silent >= s.patience(calls, stats.PacketsSent-p.sent) {
			p.asked = max(p.silent, 1)
			s.ask()
			s.knock()
		}
	case p.silent >= 2*limits.Silence && since >= max(limits.Silence/2, 3*pto):
		s.close(wire.CodeDeadline, fmt.Sprintf("no sign of life for %v (Limits.Silence is %v)", p.silent.Round(time.Millisecond), limits.Silence))
		return unhurried
	case since >= max(limits.Silence/4, 2*pto):
		s.doubt()
		s.knock()
	}
	if calls || p.asked != 0 || stats.PacketsSent != p.sent {
		return urgent
	}
	return patient
}

// maxAckDelay is how long a peer may keep an acknowledgment back: QUIC's default.
const maxAckDelay = 25 * time.Millisecond

// patience is how long the peer may be silent before it is asked. A peer that runs
// long calls is asked less and less often, for each question costs it a packet.
func (s *Session) patience(calls bool, sent uint64) time.Duration {
	silence := s.endpoint.limits.Silence
	switch {
	case sent > 1: // more than an acknowledgment
		return silence / 8
	case calls:
		return silence / 8 << min(s.pulse.answered, 3)
	case s.dialed:
		return silence
	}
	return silence + silence/4 // a peer that lives asks us first
}

// suspect makes the endpoint ask the peer for a sign of life now: there is a hint
// that it is gone.
func (s *Session) suspect() {
	s.suspected.Store(true)
	s.endpoint.alert()
}

// ask asks the peer for a sign of life.
func (s *Session) ask() {
	token := uint64(clock.Now()) & wire.MaxVarint
	s.control.send(func(b []byte) []byte { return wire.AppendPing(b, wire.KindPing, token) })
}

// knock asks the peer's host whether anybody listens there, and gives the peer up if
// nobody does.
func (s *Session) knock() {
	if !s.pulse.knocking.TryLock() {
		return
	}
	if !s.group.Go(func(ctx context.Context) {
		defer s.pulse.knocking.Unlock()
		if s.endpoint.knock(ctx, addrPort(s.conn.RemoteAddr())) {
			s.gone.Store(true)
			s.close(wire.CodeDeadline, "the process is gone: nobody listens at its port, says its host")
		}
	}) {
		s.pulse.knocking.Unlock()
	}
}

// doubt lets calls go elsewhere while the peer is silent.
func (s *Session) doubt() {
	s.doubted.Store(true)
	s.leases.moveOn()
}

// Doubtful reports whether the peer has been silent for longer than peers are. It may live.
func (s *Session) Doubtful() bool { return s.doubted.Load() }
