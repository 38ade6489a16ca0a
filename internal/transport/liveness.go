package transport

import (
	"container/heap"
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/internal/clock"
	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/wire"
)

// liveness finds out which peers are gone.
//
// A peer that is gone sends nothing, and neither does one that is frozen. All that is known is how
// long it has been silent although an answer is due. [Limits.Silence], S for short, sets the times:
//
//   - A peer with calls or unacknowledged data is asked for a sign of life S/8 after its last packet,
//     a peer with streams only after S, or S + S/4 if it dialed. Its host is also asked whether anybody listens.
//   - A peer that has not answered S/4 after that is in doubt: new calls go elsewhere, and calls that
//     may run twice are moved there.
//   - A peer that was silent for 2 S is given up. If another instance is at its address, it is given up
//     as soon as it is in doubt, and if its host says that nobody listens, at once.
//
// Any packet is an answer. Slow round trips, because the network is long or the peer is overloaded,
// stretch these times: four probe timeouts (RFC 9002, section 6.2), each twice as long as the one
// before, pass before a peer is given up, and twice the first of them before it is in doubt.
//
// Silence is counted in looks, each of which counts for at most twice the time between two: a process
// that was itself frozen or had no processor does not blame its peers.
//
// Only peers that owe something are looked at, each at its own pace, so that the cost depends on the
// calls and streams in flight and not on the connections. A peer that runs a long call and answers is
// asked every S, because its caller must know within 2 S that it is gone.
type liveness struct {
	// wake is set when there are alerts.
	wake notify.Flag
	// looked, asked and knocks count the looks, the questions to peers and those to their hosts. Tests
	// use them as the cost.
	looked atomic.Uint64
	asked  atomic.Uint64
	knocks atomic.Uint64

	mu     sync.Mutex // guards alerts
	alerts []*Session // to be looked at soon
}

// pulse is how long a session's peer has been silent. Except for knocking, only the goroutine
// that looks uses it.
type pulse struct {
	// due is when the session is looked at next.
	due time.Time
	// place is the index in the queue plus one, or 0 if the session is not looked at.
	place int
	// looked is when the session was looked at last, and pace the time from then to due.
	looked time.Time
	pace   time.Duration
	// received and sent count packets, as of the last packet that came. silent is the time since then.
	received uint64
	sent     uint64
	silent   time.Duration
	// asked is the value of silent when the peer was asked, or 0 if it was not. knocked means that
	// its host was asked, too.
	asked   time.Duration
	knocked bool
	// answered counts the questions that the peer has answered since a call began to last.
	answered uint
	// watched means that the fields above are up to date.
	watched bool
	// knocking is held while a knock is in flight.
	knocking sync.Mutex
}

// vitals is what is known of the life of a session's peer, and what hints there are that it is gone.
type vitals struct {
	pinged atomic.Pointer[ping]
	pulse  pulse
	// suspected means that there is a hint that the peer is gone, fresh that a call began to last, alerted
	// that the session waits to be looked at, and hurried that it is looked at soon anyway.
	suspected atomic.Bool
	fresh     atomic.Bool
	alerted   atomic.Bool
	hurried   atomic.Bool
	pongAt    atomic.Int64 // last answer to a PING, on the scale of package clock
	doubted   atomic.Bool  // the peer has been silent for too long
	gone      atomic.Bool  // the process of the peer has ended
	// displacedBy is the instance that announced itself at the peer's address. The peer has not answered since.
	displacedBy atomic.Pointer[string]
}

// giveUpAfter is how many times Limits.Silence a peer is silent before it is given up: twice the time after which its
// user counts it as silent.
const giveUpAfter = 2

// The times between two looks at a session, as fractions of Limits.Silence.
const (
	urgentPart  = 16 // an answer is due
	easyPart    = 4  // it has long calls, and has answered some questions
	patientPart = 2  // it has streams only
)

// easyAfter is the number of answered questions in a row after which a peer is looked at
// less often.
const easyAfter = 3

// minLook is the shortest time between two looks, however small Limits.Silence is and however
// many sessions are looked at.
const minLook = 5 * time.Millisecond

// alert makes the endpoint look at the peer soon, because something is expected of it now. It
// does nothing if the peer is looked at soon anyway.
func (s *Session) alert() {
	if s.vitals.hurried.Load() || s.vitals.alerted.Swap(true) {
		return
	}
	l := &s.endpoint.liveness
	l.mu.Lock()
	l.alerts = append(l.alerts, s)
	l.mu.Unlock()
	l.wake.Set()
}

// lookouts is a heap of the sessions that are looked at. The first is due next.
type lookouts []*Session //nolint:recvcheck // as heap.Interface wants it

// Len implements heap.Interface.
func (q lookouts) Len() int { return len(q) }

// Less implements heap.Interface.
func (q lookouts) Less(i, j int) bool { return q[i].vitals.pulse.due.Before(q[j].vitals.pulse.due) }

// Swap implements heap.Interface.
func (q lookouts) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].vitals.pulse.place, q[j].vitals.pulse.place = i+1, j+1
}

// Push implements heap.Interface.
func (q *lookouts) Push(x any) {
	s, _ := x.(*Session)
	*q = append(*q, s)
	s.vitals.pulse.place = len(*q)
}

// Pop implements heap.Interface.
func (q *lookouts) Pop() any {
	last := len(*q) - 1
	s := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	s.vitals.pulse.place = 0
	return s
}

// attend looks at sessions when they are due. It runs as a goroutine of the endpoint until
// ctx ends.
func (e *Endpoint) attend(ctx context.Context) {
	l := &e.liveness
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	var queue lookouts
	for {
		now := time.Now()
		l.takeAlerts(&queue, now, e.pace(urgentPart))
		for len(queue) > 0 && !queue[0].vitals.pulse.due.After(now) {
			s := queue[0]
			if s.vitals.pulse.pace = s.checkAlive(now); s.vitals.pulse.pace == 0 {
				heap.Pop(&queue)
				continue
			}
			s.vitals.pulse.due = now.Add(s.vitals.pulse.pace)
			heap.Fix(&queue, 0)
		}
		if len(queue) > 0 {
			timer.Reset(max(queue[0].vitals.pulse.due.Sub(now), minLook))
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

// takeAlerts makes alerted sessions due, but not sooner than urgent after they were
// looked at last.
func (l *liveness) takeAlerts(queue *lookouts, now time.Time, urgent time.Duration) {
	l.mu.Lock()
	alerts := l.alerts
	l.alerts = nil
	l.mu.Unlock()
	for _, s := range alerts {
		// Events from here on alert again.
		s.vitals.alerted.Store(false)
		p := &s.vitals.pulse
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

// pace returns Limits.Silence divided by part, but at least minLook.
func (e *Endpoint) pace(part time.Duration) time.Duration {
	return max(e.limits.Silence/part, minLook)
}

// checkAlive looks at a busy peer. It asks one that went silent for a sign of life, and closes the
// connection if there is no answer. It returns the time until the next look. Zero means not until
// there is an alert.
func (s *Session) checkAlive(now time.Time) time.Duration {
	e := s.endpoint
	e.liveness.looked.Add(1)
	// Events from here on alert.
	s.vitals.hurried.Store(false)
	p := &s.vitals.pulse
	streams := s.usage.streams.Load()
	calls := s.dialed && s.usage.active.Load() > streams
	suspected := s.vitals.suspected.Swap(false)
	if s.ended() || !calls && streams == 0 && p.asked == 0 && !suspected {
		p.watched = false
		return 0
	}
	stats := s.conn.Stats()
	s.hear(now, &stats)
	if s.vitals.fresh.Swap(false) {
		p.answered = 0
	}
	if !s.judge(&stats, calls, suspected) {
		return 0
	}
	switch {
	case p.asked != 0, stats.Sent != p.sent, calls && p.answered < easyAfter:
		s.vitals.hurried.Store(true)
		return e.pace(urgentPart)
	case calls:
		return e.pace(easyPart)
	}
	return min(e.pace(patientPart), max(s.patience(false, 0)-p.silent, e.pace(urgentPart)))
}

// hear notes whether the peer was heard since the last look.
func (s *Session) hear(now time.Time, stats *carrier.Stats) {
	p := &s.vitals.pulse
	awake := min(now.Sub(p.looked), 2*p.pace)
	p.looked = now
	if stats.Received == p.received && p.watched {
		p.silent += awake
		return
	}
	if p.asked != 0 {
		p.answered++
		s.vitals.displacedBy.Store(nil)
	}
	p.received, p.sent, p.silent, p.asked = stats.Received, stats.Sent, 0, 0
	// The peer may have been silent since it answered.
	if p.watched {
		p.silent = min(max(time.Duration(clock.Of(now)-s.vitals.pongAt.Load()), 0), awake)
	}
	p.watched = true
	// If there is a hint that the peer was displaced, packets may be from before it: only an answer counts.
	if s.vitals.displacedBy.Load() == nil {
		s.vitals.doubted.Store(false)
	}
}

// judge asks the peer, doubts it or gives it up, depending on how long it has been silent. It
// reports false if the peer was given up.
func (s *Session) judge(stats *carrier.Stats, calls, suspected bool) bool {
	p, silence := &s.vitals.pulse, s.endpoint.limits.Silence
	pto := stats.RTT + max(4*stats.Deviation, time.Millisecond) + maxAckDelay
	sent := stats.Sent - p.sent
	switch since := p.silent - p.asked; {
	case p.asked == 0:
		if suspected || p.silent >= s.patience(calls, sent) {
			p.asked = max(p.silent, 1)
			s.ask()
			// A routine question is likely to be answered, so the host is not asked yet.
			if p.knocked = suspected || sent > 1; p.knocked {
				s.knock()
			}
		}
	case p.silent >= giveUpAfter*silence && since >= max(silence/2, probesLost*pto):
		s.close(wire.CodeDeadline, fmt.Sprintf("no answer for %v (Limits.Silence is %v)", p.silent.Round(time.Millisecond), silence))
		return false
	case since >= max(silence/4, 2*pto):
		if by := s.vitals.displacedBy.Load(); by != nil {
			s.vitals.gone.Store(true)
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

// probesLost is the length of four probe timeouts in a row, in units of the first: each is twice as
// long as the one before. Where a network loses one packet in twenty, three answers in a row are lost
// too often: while its congestion window is full, QUIC sends only probes, each answered by one packet.
const probesLost = 1 + 2 + 4 + 8

// maxAckDelay is how long a peer may delay an acknowledgment: QUIC's default.
const maxAckDelay = 25 * time.Millisecond

// patience returns how long the peer may be silent before it is asked. A peer that runs
// long calls is asked less and less often, because each question costs it a packet.
func (s *Session) patience(calls bool, sent uint64) time.Duration {
	silence := s.endpoint.limits.Silence
	switch {
	case sent > 1:
		// More than an acknowledgment was sent.
		return silence / 8
	case calls:
		return silence / 8 << min(s.vitals.pulse.answered, 3)
	case s.dialed:
		return silence
	}
	// A live peer that dialed asks us first.
	return silence + silence/4
}

// suspect makes the endpoint ask the peer for a sign of life now, because there is a hint
// that it is gone.
func (s *Session) suspect() {
	s.vitals.suspected.Store(true)
	s.alert()
}

// ask asks the peer for a sign of life with a PING.
func (s *Session) ask() {
	s.endpoint.liveness.asked.Add(1)
	token := uint64(clock.Now()) & wire.MaxVarint
	s.control.send(func(b []byte) []byte { return wire.AppendPing(b, wire.KindPing, token) })
}

// knock asks the peer's host whether anybody listens there, and gives the peer up if
// nobody does. The address of a peer that dialed may belong to a NAT, which reports that nobody
// listens at any port but the one that it opened for the connection, so the host of such a peer
// is asked only if it is this host.
func (s *Session) knock() {
	if !s.dialed && !sameHost(s.conn.RemoteAddr(), s.conn.LocalAddr()) || !s.vitals.pulse.knocking.TryLock() {
		return
	}
	s.endpoint.liveness.knocks.Add(1)
	if !s.group.Go(func(ctx context.Context) {
		defer s.vitals.pulse.knocking.Unlock()
		if s.endpoint.knock(ctx, addrPort(s.conn.RemoteAddr())) {
			s.vitals.gone.Store(true)
			s.close(wire.CodeDeadline, "the process is gone: its host reports that nothing is listening on the port")
		}
	}) {
		s.vitals.pulse.knocking.Unlock()
	}
}

// sameHost reports whether two addresses belong to one host, so that there is no NAT between them.
func sameHost(a, b net.Addr) bool {
	one, other := addrPort(a).Addr().Unmap(), addrPort(b).Addr().Unmap()
	return one.IsLoopback() && other.IsLoopback() || one == other && one.IsValid()
}

// doubt marks the peer as doubtful and lets its calls go elsewhere.
func (s *Session) doubt() {
	s.vitals.doubted.Store(true)
	s.leases.moveOn()
}

// Gone reports whether the process of the peer has ended, as [ErrGone] says.
func (s *Session) Gone() bool { return s.vitals.gone.Load() }

// Doubtful reports whether the peer has been silent for unusually long. It may still be alive.
func (s *Session) Doubtful() bool { return s.vitals.doubted.Load() }
