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
	endpoint    *Endpoint
	conn        *quic.Conn
	dialed      bool
	dialedAs    *Peer  // the peer that a dialed session was dialed for
	remoteAddr  string // at the beginning
	moved       atomic.Pointer[address]
	peer        any
	site        site    // which peer it reaches, and where
	shares      shares  // the peer's shares in Endpoint.pools
	caller      *caller // the peer, in Endpoint.callers
	late        lateCredit
	admitted    bool      // counts in Endpoint.accepted and shares.conns; guarded by Endpoint.mu
	evicted     bool      // makes way for another; guarded by Endpoint.mu
	expires     time.Time // when a certificate expires; zero is never
	retireAt    time.Time // when a dialed session makes way for another; zero is never
	group       *lifecycle.Group
	remote      wire.Setup
	routes      routeTable               // the peer's routes
	tags        atomic.Pointer[[]string] // the peer's tags, as it said last
	tagRate     *rate.Limiter            // bounds the peer's TAGS
	controlRate *rate.Limiter            // bounds the peer's frames on CONTROL

	setup  chan struct{} // closed when remote is set
	routed chan struct{} // closed when the peer has announced routes
	waited atomic.Int64  // how long somebody has waited for that in vain, in ns

	routedOnce sync.Once
	draining   chan struct{} // closed when the peer drains
	drainOnce  sync.Once
	retired    atomic.Bool // dialed: another session takes the new calls

	over atomic.Bool // an operation has found that the connection has ended; its context may end a moment later

	retireCode atomic.Uint64 // how a retired session closes
	control    controlWriter
	outbox     outbox
	leases     leasePool
	resting    restingCalls  // for an accepted session
	bulk       chan struct{} // holds a token per large message being written

	active  atomic.Int64 // calls and streams in flight
	streams atomic.Int64 // streams of patterns among these
	window  atomic.Int64 // bytes that the connection's window has grown by
	credit  atomic.Int64 // bytes of credit that our streams have given out
	used    atomic.Int64 // when it was last used, on the scale of package clock
	lastID  atomic.Int64 // accepted sessions: the last stream that was taken

	lastServed atomic.Uint64          // dialed sessions: no handler of the peer's sees streams above it
	goodbye    atomic.Pointer[string] // why the peer drains, as it says

	pinged    atomic.Pointer[ping] // whose answer is waited for
	pulse     pulse
	suspected atomic.Bool  // there is a hint that the peer is gone
	fresh     atomic.Bool  // a call began to last
	alerted   atomic.Bool  // it waits to be looked at
	hurried   atomic.Bool  // it is looked at soon anyway
	pongAt    atomic.Int64 // when it answered a PING last, on the scale of package clock
	doubted   atomic.Bool  // the peer has been silent for too long
	gone      atomic.Bool  // its host says that its process has ended
	// displacedBy is the instance that says it is at the address of the peer, which has not answered since.
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

// Tags returns the tags that the other side announced last. They must not be
// modified.
func (s *Session) Tags() []string { return *s.tags.Load() }

// RemoteAddr returns the address of the other side. It changes when a peer that dialed
// moves to another network. Errors of a session name the address that it began with.
func (s *Session) RemoteAddr() string {
	now, ok := s.conn.RemoteAddr().(*net.UDPAddr)
	if !ok {
		return s.remoteAddr // a socket of the program's, of another kind
	}
	if known := s.moved.Load(); known != nil && known.addr == now {
		return known.text
	}
	text := now.String()
	s.moved.Store(&address{now, text})
	return text
}

// address is an address and its text, which is asked for with each call.
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

// AwaitRoutes waits until the peer has announced routes, stop is closed or a time, if one is given, has come, and for
// as long as that may take at most: once a wait was that long, later ones that may take no longer find that it has been.
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
			s.waited.Store(int64(most)) // a shorter one that ends just then makes another wait at worst
		}
	}
}

// Route returns what the peer said of a route, if it announced it.
func (s *Session) Route(kind uint64, name string) (r PeerRoute, ok bool) {
	return s.routes.lookup(kind, name)
}

// RouteNames gives the names of the peer's routes of a kind that it announced, in no order.
func (s *Session) RouteNames(kind uint64) iter.Seq[string] { return s.routes.names(kind) }

// touch notes that the session is in use. The janitor looks at seconds, so most calls
// only read what others wrote.
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

// ended reports whether the connection has ended. Whoever has learned so from an
// operation that failed finds it true: a call that is sent again must not meet the
// connection that has just been lost.
func (s *Session) ended() bool { return s.over.Load() || s.conn.Context().Err() != nil }

// hasEnded reports whether err, of an operation on the connection or on one of its
// streams, says that the connection has ended, and notes that it has: QUIC ends what runs
// on a connection before it ends the connection's context.
func (s *Session) hasEnded(err error) bool {
	if !errors.Is(err, net.ErrClosed) { // every error that ends a connection is one
		return false
	}
	s.over.Store(true)
	return true
}

// usable reports whether new calls may start.
func (s *Session) usable() bool { return !s.ended() && !s.isDraining() && !s.retired.Load() }

// identify notes who the peer is; finish must follow, or disown. A connection never outlives a certificate: the janitor
// closes it in the second in which one expires. The side that dialed moves to a new one when
// a twentieth to a tenth of the time is left, in which calls come to their end; spread so
// that a fleet does not do so at once.
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

// retire lets new calls go to a new connection; this one ends with its last
// call, with code.
func (s *Session) retire(code wire.Code) {
	if s.retired.CompareAndSwap(false, true) {
		s.retireCode.Store(uint64(code))
		s.closeUnused()
	}
}

// leaving is why a session takes no calls whose peer drains.
func (s *Session) leaving() *Error {
	e := &Error{Reason: ReasonDraining, Peer: s.remoteAddr, NotProcessed: true}
	if why := s.goodbye.Load(); why != nil {
		e.Detail = *why
	}
	return e
}

// unserved reports whether the peer has said that no handler of its own sees what was
// sent on a stream: it drains, and the stream came too late.
func (s *Session) unserved(id quic.StreamID) bool { return uint64(id) > s.lastServed.Load() }

// taken is active of a session that is being closed.
const taken = math.MinInt64 / 2

// acquire counts a call or stream in active; release must follow. The error
// says that the session takes no more. A marked session is closed by who moves
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

// release ends a call or stream that was counted in active. The last one on a
// session whose peer drains closes it, so that the peer need not wait. One that is
// retired for other reasons is closed by tend: what was said last, a reset say, has left
// by then, and nobody waits.
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

// close ends the connection and waits for nothing.
func (s *Session) close(code wire.Code, reason string) {
	s.retired.Store(true)                                              // its context ends a moment later
	_ = s.conn.CloseWithError(quic.ApplicationErrorCode(code), reason) // it has no error to return
	s.group.Stop(ErrClosed)
}

// add registers a session with the endpoint. It reports false if the endpoint
// is closed, and has then disowned the session.
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

// finish waits for the session's goroutines after its connection ended and
// forgets it. The goroutine that owns the session calls it.
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
			select {
			case e.gone <- struct{}{}:
			default:
			}
		}
	}
	s.disown()
}

// janitor closes what is unused or has expired.
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
			clear(sessions) // they may end before the slice is as full again
		}
	}
}

// unusedSince is the second since which a call stream has carried no call that is closed.
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
	case s.active.Load() > 0: // a long call or stream is a use for as long as it lasts
		s.used.Store(at)
	case at-s.used.Load() > int64(limits.SessionIdle):
		s.retire(wire.CodeIdle)
	}
	if s.retired.Load() {
		s.closeUnused()
	}
}
