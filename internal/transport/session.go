package transport

import (
	"context"
	"errors"
	"iter"
	"math"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/time/rate"

	"github.com/linkmesh/link/internal/clock"
	"github.com/linkmesh/link/internal/lifecycle"
	"github.com/linkmesh/link/internal/wire"
)

// Session is a connection on which both sides have received the other's SETUP.
type Session struct {
	endpoint *Endpoint
	conn     *quic.Conn
	dialed   bool
	dialedAs *Peer // nil unless dialed
	// remoteAddr is the address at the beginning, and moved the last one that RemoteAddr has seen.
	remoteAddr string
	moved      atomic.Pointer[address]
	peer       any
	site       site
	shares     shares
	caller     *caller
	late       lateCredit
	// admitted means that the session counts in Endpoint.accepted and shares.conns, evicted that it
	// makes way for another. Both are guarded by Endpoint.mu.
	admitted bool
	evicted  bool
	// expires is when a certificate expires, retireAt when a dialed session is replaced. Zero is never.
	expires  time.Time
	retireAt time.Time
	group    *lifecycle.Group
	// remote, routes and tags are what the peer has announced. The rates bound its TAGS and CONTROL frames.
	remote      wire.Setup
	routes      routeTable
	tags        atomic.Pointer[[]string]
	tagRate     *rate.Limiter
	controlRate *rate.Limiter
	// setup is closed when remote is set, routed when the peer has announced routes. waited is how long
	// a caller has waited for routed in vain, in ns.
	setup      chan struct{}
	routed     chan struct{}
	waited     atomic.Int64
	routedOnce sync.Once

	draining  chan struct{} // closed when the peer drains
	drainOnce sync.Once
	// retired means that another session takes the new calls. A retired session closes with retireCode.
	retired atomic.Bool
	// over means that an operation found the connection ended. Its context may end a moment later.
	over       atomic.Bool
	retireCode atomic.Uint64
	control    controlWriter
	outbox     outbox
	leases     leasePool
	resting    restingCalls
	bulk       chan struct{} // holds a token per large message being written

	active  atomic.Int64 // calls and streams in flight
	streams atomic.Int64 // streams of patterns among these
	window  atomic.Int64 // bytes that the connection's window has grown by
	credit  atomic.Int64 // bytes of credit that our streams have granted
	used    atomic.Int64 // when it was last used, on the scale of package clock
	lastID  atomic.Int64 // accepted sessions: the last stream that was accepted
	// No handler of the peer of a dialed session sees streams above lastServed. goodbye is why the peer drains.
	lastServed atomic.Uint64
	goodbye    atomic.Pointer[string]

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

func (e *Endpoint) newSession(conn *quic.Conn, dialed bool) *Session {
	s := &Session{
		endpoint: e, conn: conn, dialed: dialed,
		remoteAddr: conn.RemoteAddr().String(),
		group:      lifecycle.New(conn.Context()),
		setup:      make(chan struct{}),
		routed:     make(chan struct{}),
		draining:   make(chan struct{}),
		bulk:       make(chan struct{}, bulkWrites),
		tagRate:    rate.NewLimiter(rate.Every(tagsEvery), tagsBurst),

		controlRate: rate.NewLimiter(controlRate, controlBurst),
	}
	s.lastServed.Store(wire.MaxVarint)
	s.leases.session, s.outbox.session = s, s
	s.touch(time.Now())
	return s
}

// Peer returns what Config.Identify returned for the other side.
func (s *Session) Peer() any { return s.peer }

// Remote returns what the other side announced.
func (s *Session) Remote() *wire.Setup { return &s.remote }

// Tags returns the tags that the other side announced last. The caller must not modify them.
func (s *Session) Tags() []string { return *s.tags.Load() }

// RemoteAddr returns the address of the other side. It changes when a peer that dialed
// moves to another network. Errors of a session name the address that it began with.
func (s *Session) RemoteAddr() string {
	now, ok := s.conn.RemoteAddr().(*net.UDPAddr)
	if !ok {
		return s.remoteAddr
	}
	if known := s.moved.Load(); known != nil && known.addr == now {
		return known.text
	}
	text := now.String()
	s.moved.Store(&address{now, text})
	return text
}

// address is an address and its text, which is cached because each call asks for it.
type address struct {
	addr *net.UDPAddr
	text string
}

// Draining returns a channel that is closed when the other side drains.
func (s *Session) Draining() <-chan struct{} { return s.draining }

// Done returns a channel that is closed when the connection ends.
func (s *Session) Done() <-chan struct{} { return s.conn.Context().Done() }

// RTT returns the smoothed round-trip time of the connection.
func (s *Session) RTT() time.Duration { return s.conn.ConnectionStats().SmoothedRTT }

// AwaitRoutes waits until the peer has announced routes, stop is closed, until has come, unless it is zero, or most has
// passed. Once a wait has lasted for most in vain, later calls with the same or a shorter most do not wait.
func (s *Session) AwaitRoutes(stop <-chan struct{}, most time.Duration, until time.Time) {
	wait := most
	if !until.IsZero() {
		wait = min(most, time.Until(until))
	}
	if time.Duration(s.waited.Load()) >= most {
		return
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-s.routed:
	case <-s.Done():
	case <-stop:
	case <-t.C:
		if wait == most {
			// A shorter wait that ends at the same time makes another one necessary at worst.
			s.waited.Store(int64(most))
		}
	}
}

// Route returns what the peer announced of a route, and whether it did.
func (s *Session) Route(kind uint64, name string) (r PeerRoute, ok bool) {
	return s.routes.lookup(kind, name)
}

// RouteNames yields the names of the routes of one kind that the peer announced, in no particular order.
func (s *Session) RouteNames(kind uint64) iter.Seq[string] { return s.routes.names(kind) }

// touch notes that the session is in use. The janitor looks at seconds, so most calls need not write.
func (s *Session) touch(now time.Time) {
	if n := clock.Of(now); n-s.used.Load() > int64(touchEvery) {
		s.used.Store(n)
	}
}

const touchEvery = 10 * time.Millisecond

func (s *Session) isDraining() bool {
	select {
	case <-s.draining:
		return true
	default:
		return false
	}
}

// ended reports whether the connection has ended. It is true as soon as an operation has failed
// because of that: a call that is retried must not meet the connection that was just lost.
func (s *Session) ended() bool { return s.over.Load() || s.conn.Context().Err() != nil }

// hasEnded reports whether err, of an operation on the connection or on one of its streams, says that
// the connection has ended, and notes it: QUIC ends operations on a connection before the connection's
// context. Every error that ends a connection is a net.ErrClosed.
func (s *Session) hasEnded(err error) bool {
	if !errors.Is(err, net.ErrClosed) {
		return false
	}
	s.over.Store(true)
	return true
}

// usable reports whether new calls may start.
func (s *Session) usable() bool { return !s.ended() && !s.isDraining() && !s.retired.Load() }

// identify notes who the peer is; finish or disown must follow. A connection does not outlive a certificate: the janitor
// closes it within the second after one expires. The dialing side moves to a new connection when a twentieth to a tenth
// of the time is left, so that calls can end. The moment is random so that a fleet does not move at once.
func (s *Session) identify(who Identity, now time.Time) {
	s.peer, s.expires = who.Peer, who.Expires
	s.site = site{who.Key, addrPort(s.conn.RemoteAddr())}
	s.shares = s.endpoint.pools.shares(&who, s.remoteAddr)
	s.caller = s.endpoint.callers.join(s.shares.conns.Key())
	if o, ok := s.conn.Context().Value(ownerKey{}).(*owner); ok {
		o.session.Store(s)
	}
	if left := who.Expires.Sub(now); !who.Expires.IsZero() {
		s.retireAt = now.Add(left - time.Duration((1+rand.Float64())*float64(left)/20)) //nolint:gosec // jitter is not a secret
	}
}

// retire makes new calls use a new connection. This one closes with code after its last call.
func (s *Session) retire(code wire.Code) {
	if s.retired.CompareAndSwap(false, true) {
		s.retireCode.Store(uint64(code))
		s.closeUnused()
	}
}

// leaving returns the error of a call on a session whose peer drains.
func (s *Session) leaving() *Error {
	e := &Error{Reason: ReasonDraining, Peer: s.remoteAddr, NotProcessed: true}
	if why := s.goodbye.Load(); why != nil {
		e.Detail = *why
	}
	return e
}

// unserved reports whether the peer has said that none of its handlers sees a stream, because it drains
// and the stream came too late.
func (s *Session) unserved(id quic.StreamID) bool { return uint64(id) > s.lastServed.Load() }

// taken is the value of active of a session that is being closed.
const taken = math.MinInt64 / 2

// acquire counts a call or stream in active; release must follow, even after an error. The error says
// that the session takes no more. A draining or retired session is closed by the goroutine that moves
// active from 0 to taken, so it never closes under a call that has begun.
func (s *Session) acquire() error {
	running := s.active.Add(1)
	switch {
	case running < 0:
		return &Error{Reason: ReasonLost, Peer: s.remoteAddr, NotProcessed: true, Detail: "it is no longer used"}
	case s.isDraining():
		return s.leaving()
	case s.retired.Load():
		return &Error{Reason: ReasonLost, Peer: s.remoteAddr, NotProcessed: true, Detail: "another connection takes its place"}
	}
	return nil
}

// release ends a call or stream that was counted in active. The last one on a session whose peer drains
// closes the session, so that the peer need not wait. A session that is retired for another reason is
// closed by tend: its last frames, such as a reset, have left by then, and nobody waits.
func (s *Session) release() {
	if s.active.Add(-1) == 0 && s.dialed && s.isDraining() {
		s.closeUnused()
	}
}

// closeUnused closes a session on which nothing is under way.
func (s *Session) closeUnused() {
	if s.active.CompareAndSwap(0, taken) {
		s.close(wire.Code(s.retireCode.Load()), "no longer used")
	}
}

// close ends the connection without waiting. retired stops new calls until the context ends a moment later.
func (s *Session) close(code wire.Code, reason string) {
	s.retired.Store(true)
	_ = s.conn.CloseWithError(quic.ApplicationErrorCode(code), reason)
	s.group.Stop(ErrClosed)
}

// add registers a session with the endpoint. If the endpoint is closed, it disowns the session and reports false.
func (e *Endpoint) add(s *Session) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		s.disown()
		return false
	}
	e.sessions[s] = struct{}{}
	return true
}

// finish waits for the end of the connection and the session's goroutines, and forgets the session. Its owner calls it.
func (s *Session) finish() {
	<-s.conn.Context().Done()
	why := context.Cause(s.conn.Context())
	s.charge(why, time.Now())
	s.group.Stop(why)
	s.group.Wait()
	e := s.endpoint
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.sessions, s)
	e.leaveLocked(s)
	if s.admitted {
		s.shares.conns.Give(1)
		e.accepted--
		if e.accepted == 0 && e.refusing.Load() {
			e.gone.Set()
		}
	}
	s.disown()
}

// janitor closes sessions and streams that are unused or have expired, once a second.
func (e *Endpoint) janitor(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var sessions []*Session
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			e.seconds.Add(1)
			unused := e.unusedSince()
			sessions = sessions[:0]
			e.mu.Lock()
			for s := range e.sessions {
				sessions = append(sessions, s)
			}
			e.mu.Unlock()
			e.gate.debts.sweep(now)
			e.callers.sweep(now)
			e.refusals.flush(now)
			e.shed.flush(now)
			for _, s := range sessions {
				switch {
				case s.dialed:
					s.tend(now)
				case !s.expires.IsZero() && now.After(s.expires):
					s.close(wire.CodeUnauthenticated, "a certificate has expired")
				default:
					s.resting.expire(unused)
				}
			}
			clear(sessions)
		}
	}
}

// unusedSince returns a second. Call streams that have carried no call since then are closed.
func (e *Endpoint) unusedSince() int64 {
	return e.seconds.Load() - int64(math.Ceil(e.limits.StreamIdle.Seconds()))
}

// tend looks after one dialed session, once a second.
func (s *Session) tend(now time.Time) {
	limits := &s.endpoint.limits
	s.leases.expire(now.Add(-limits.LeaseIdle))
	if !s.retireAt.IsZero() && now.After(s.retireAt) {
		s.retire(wire.CodeNone)
	}
	if !s.expires.IsZero() && now.After(s.expires) {
		s.close(wire.CodeUnauthenticated, "a certificate has expired")
	}
	switch at := clock.Of(now); {
	case s.active.Load() > 0:
		// A long call or stream counts as use for as long as it lasts.
		s.used.Store(at)
	case at-s.used.Load() > int64(limits.SessionIdle):
		s.retire(wire.CodeIdle)
	}
	if s.retired.Load() {
		s.closeUnused()
	}
}
