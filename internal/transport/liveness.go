package transport

import (
	"container/heap"
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

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
//   - A peer that was silent for 2 S is given up; when it is in doubt if another instance is at its
//     address, and at once when its host says that nobody listens.
//
// Any packet is an answer. Round trips that are slow, because the network is long or the peer is
// overloaded, stretch these times: four probe timeouts (RFC 9002, section 6.2), each twice as long as
// the one before, pass before a peer is given up, and as much as two of the first before it is in doubt.
//
// Silence is counted in looks, each of which counts for at most twice the time between two: a process
// that was itself frozen or had no processor does not blame its peers.
//
// Only peers that owe something are looked at, each at its own pace, so that the cost
// follows the calls and streams under way and not the connections. A peer that runs a long call and
// answers is asked every S, for twice S is how soon its caller is to know that it is gone.
type liveness struct {
	wake   chan struct{} // holds a token when there are alerts
	looked atomic.Uint64 // at how many sessions, and
	asked  atomic.Uint64 // how many were asked, and
	knocks atomic.Uint64 // how many hosts: its cost, for tests

	mu     sync.Mutex // guards alerts
	alerts []*Session // to be looked at soon
}

// pulse is what is known of the life of a session's peer. The goroutine that looks
// uses it alone, except for knocking.
type pulse struct {
	due      time.Time     // when it is looked at next
	place    int           // in the queue, and one; 0: it is not looked at
	looked   time.Time     // when it was looked at last
	pace     time.Duration // from then to due
	received uint64        // packets, when the last came
	sent     uint64        // packets, then
	silent   time.Duration // since then
	asked    time.Duration // silent, when the peer was asked; 0: it was not
	knocked  bool          // its host was asked, too
	answered uint          // times that it was asked and lived since a call began to last
	watched  bool          // the above is up to date
	knocking sync.Mutex    // held by who knocks
}

// How soon a session is looked at again, as parts of Limits.Silence.
const (
	urgentPart  = 16 // an answer is due
	easyPart    = 4  // it has long calls, and has lived through some questions
	patientPart = 2  // it has streams only
)

// easyAfter is after how many questions in a row that were answered a peer is looked at
// less often.
const easyAfter = 3

// minLook is the shortest time between two looks, however small Limits.Silence is and however
// many sessions are looked at.
const minLook = 5 * time.Millisecond

// alert makes the endpoint look at the peer soon: something is expected of it now.
func (s *Session) alert() {
	if s.hurried.Load() || s.alerted.Swap(true) {
		return // it is looked at soon as it is
	}
	l := &s.endpoint.liveness
	l.mu.Lock()
	l.alerts = append(l.alerts, s)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default: // it holds a token already
	}
}

// lookouts are the sessions that are looked at, the one that is due next first.
type lookouts []*Session //nolint:recvcheck // as heap.Interface wants it

// Len implements heap.Interface.
func (q lookouts) Len() int { return len(q) }

// Less implements heap.Interface.
func (q lookouts) Less(i, j int) bool { return q[i].pulse.due.Before(q[j].pulse.due) }

// Swap implements heap.Interface.
func (q lookouts) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].pulse.place, q[j].pulse.place = i+1, j+1
}

// Push implements heap.Interface.
func (q *lookouts) Push(x any) {
	s, _ := x.(*Session) // nothing else is pushed
	*q = append(*q, s)
	s.pulse.place = len(*q)
}

// Pop implements heap.Interface.
func (q *lookouts) Pop() any {
	last := len(*q) - 1
	s := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	s.pulse.place = 0
	return s
}

// attend is the goroutine that watches over the lives of peers.
func (e *Endpoint) attend(ctx context.Context) {
	l := &e.liveness
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	var queue lookouts
	for {
		now := time.Now()
		l.takeAlerts(&queue, now, e.pace(urgentPart))
		for len(queue) > 0 && !queue[0].pulse.due.After(now) {
			s := queue[0]
			if s.pulse.pace = s.look(now); s.pulse.pace == 0 {
				heap.Pop(&queue)
				continue
			}
			s.pulse.due = now.Add(s.pulse.pace)
			heap.Fix(&queue, 0)
		}
		if len(queue) > 0 {
			timer.Reset(max(queue[0].pulse.due.Sub(now), minLook))
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-l.wake:
			timer.Stop()
		}
	}
}

// takeAlerts makes sessions due that were alerted, but not sooner than urgent after
// they were looked at last.
func (l *liveness) takeAlerts(queue *lookouts, now time.Time, urgent time.Duration) {
	l.mu.Lock()
	alerts := l.alerts
	l.alerts = nil
	l.mu.Unlock()
	for _, s := range alerts {
		s.alerted.Store(false) // what happens from here on alerts again
		p := &s.pulse
		if p.place == 0 {
			p.due = now
			heap.Push(queue, s)
			continue
		}
		if soon := p.looked.Add(urgent); soon.Before(p.due) {
			p.due = soon
			heap.Fix(queue, p.place-1)
		}
	}
}

// pace is a part of Limits.Silence.
func (e *Endpoint) pace(part time.Duration) time.Duration {
	return max(e.limits.Silence/part, minLook)
}

// look looks for signs of life of the peer, and returns when to look again: in no time means
// not until there is an alert.
func (s *Session) look(now time.Time) time.Duration {
	e := s.endpoint
	e.liveness.looked.Add(1)
	s.hurried.Store(false) // what happens from here on alerts
	p := &s.pulse
	streams := s.streams.Load()
	calls := s.dialed && s.active.Load() > streams
	suspected := s.suspected.Swap(false)
	if s.ended() || !calls && streams == 0 && p.asked == 0 && !suspected {
		p.watched = false
		return 0
	}
	stats := s.conn.ConnectionStats()
	s.listen(now, &stats)
	if s.fresh.Swap(false) {
		p.answered = 0
	}
	if !s.judge(&stats, calls, suspected) {
		return 0
	}
	switch {
	case p.asked != 0, stats.PacketsSent != p.sent, calls && p.answered < easyAfter:
		s.hurried.Store(true)
		return e.pace(urgentPart)
	case calls:
		return e.pace(easyPart)
	}
	return min(e.pace(patientPart), max(s.patience(false, 0)-p.silent, e.pace(urgentPart)))
}

// listen notes whether the peer was heard since the last look.
func (s *Session) listen(now time.Time, stats *quic.ConnectionStats) {
	p := &s.pulse
	awake := min(now.Sub(p.looked), 2*p.pace)
	p.looked = now
	if stats.PacketsReceived == p.received && p.watched {
		p.silent += awake
		return
	}
	if p.asked != 0 {
		p.answered++
		s.displacedBy.Store(nil)
	}
	p.received, p.sent, p.silent, p.asked = stats.PacketsReceived, stats.PacketsSent, 0, 0
	if p.watched { // it may have been silent since it answered
		p.silent = min(max(time.Duration(clock.Of(now)-s.pongAt.Load()), 0), awake)
	}
	p.watched = true
	if s.displacedBy.Load() == nil { // otherwise what was heard is from before the hint: only an answer counts
		s.doubted.Store(false)
	}
}

// judge asks the peer, doubts it or gives it up, as its silence says. It reports whether it
// goes on.
func (s *Session) judge(stats *quic.ConnectionStats, calls, suspected bool) bool {
	p, silence := &s.pulse, s.endpoint.limits.Silence
	pto := stats.SmoothedRTT + max(4*stats.MeanDeviation, time.Millisecond) + maxAckDelay
	sent := stats.PacketsSent - p.sent
	switch since := p.silent - p.asked; {
	case p.asked == 0:
		if suspected || p.silent >= s.patience(calls, sent) {
			p.asked = max(p.silent, 1)
			s.ask()
			// A question that is a matter of routine is likely to be answered.
			if p.knocked = suspected || sent > 1; p.knocked {
				s.knock()
			}
		}
	case p.silent >= 2*silence && since >= max(silence/2, probesLost*pto):
		s.close(wire.CodeDeadline, fmt.Sprintf("no sign of life for %v (Limits.Silence is %v)", p.silent.Round(time.Millisecond), silence))
		return false
	case since >= max(silence/4, 2*pto):
		if by := s.displacedBy.Load(); by != nil {
			s.gone.Store(true)
			s.close(wire.CodeDeadline, "the process is gone: it does not answer, and "+*by+" is at its address now")
			return false
		}
		s.doubt()
		s.knock()
	case !p.knocked && since >= max(s.endpoint.pace(urgentPart), pto):
		p.knocked = true
		s.knock()
	}
	return true
}

// probesLost is how many of the first probe timeout four in a row take, for each doubles the next.
// Where a network loses one packet in twenty, three answers in a row are lost too often: while its
// congestion window is full, QUIC sends nothing but its probes, and each gets one packet for an answer.
const probesLost = 1 + 2 + 4 + 8

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
	s.alert()
}

// ask asks the peer for a sign of life.
func (s *Session) ask() {
	s.endpoint.liveness.asked.Add(1)
	token := uint64(clock.Now()) & wire.MaxVarint
	s.control.send(func(b []byte) []byte { return wire.AppendPing(b, wire.KindPing, token) })
}

// knock asks the peer's host whether anybody listens there, and gives the peer up if
// nobody does. The address of a peer that dialed may be that of a NAT, which says so of every port but the
// one that it opened for the connection: such a peer is asked on this host only.
func (s *Session) knock() {
	if !s.dialed && !sameHost(s.conn.RemoteAddr(), s.conn.LocalAddr()) || !s.pulse.knocking.TryLock() {
		return
	}
	s.endpoint.liveness.knocks.Add(1)
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

// sameHost reports whether two addresses are of one host, between which there is no NAT.
func sameHost(a, b net.Addr) bool {
	one, other := addrPort(a).Addr().Unmap(), addrPort(b).Addr().Unmap()
	return one.IsLoopback() && other.IsLoopback() || one == other && one.IsValid()
}

// doubt lets calls go elsewhere while the peer is silent.
func (s *Session) doubt() {
	s.doubted.Store(true)
	s.leases.moveOn()
}

// Gone reports whether the process of the peer has ended, as [ErrGone] says.
func (s *Session) Gone() bool { return s.gone.Load() }

// Doubtful reports whether the peer has been silent for longer than peers are. It may live.
func (s *Session) Doubtful() bool { return s.doubted.Load() }
