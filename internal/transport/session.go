package transport

import (
	"context"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/linkmesh/link/internal/lifecycle"
	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/wire"
)

// Session is a connection on which both sides have received the other's SETUP.
type Session struct {
	endpoint *Endpoint
	conn     carrier.Conn
	// ctx is that of conn, kept because each call looks at it.
	ctx    context.Context //nolint:containedctx // it ends with the connection
	dialed bool
	// dialedAs is nil unless this side dialed.
	dialedAs *Peer
	whereabouts
	shares shares
	caller *caller
	group  *lifecycle.Group

	remote  remote
	goodbye goodbye
	life    lifetime
	serving servingSide

	control controlWriter
	outbox  outbox
	leases  leasePool
	bulk    chan struct{} // holds a token per large message being written
	usage   usage
	vitals  vitals
}

// whereabouts is where the peer of a session is.
type whereabouts struct {
	// remoteAddr is the address at the beginning, and moved the last one that RemoteAddr has seen.
	remoteAddr string
	moved      atomic.Pointer[address]
	site       site
}

// servingSide is what a session has if the peer dialed it.
type servingSide struct {
	// admitted means that the session counts among those accepted and in shares.conns, evicted that it
	// makes way for another. Both are guarded by directory.mu.
	admitted bool
	evicted  bool
	late     lateCredit
	resting  restingCalls
	// lastID is the last stream that was accepted.
	lastID atomic.Uint64
}

// newSession returns a session with a peer that has proved who it is; finish or disown must follow. dialedAs is nil if the
// peer dialed.
func (e *Endpoint) newSession(conn carrier.Conn, who Identity, dialedAs *Peer) *Session {
	s := &Session{
		endpoint: e, conn: conn, ctx: conn.Context(), dialed: dialedAs != nil, dialedAs: dialedAs,
		whereabouts: whereabouts{remoteAddr: conn.RemoteAddr().String()},
		group:       lifecycle.New(conn.Context()),
		bulk:        make(chan struct{}, bulkWrites),
	}
	s.remote.ready, s.remote.routed = make(chan struct{}), make(chan struct{})
	s.remote.tagRate = rate.NewLimiter(rate.Every(tagsEvery), tagsBurst)
	s.remote.controlRate = rate.NewLimiter(controlRate, controlBurst)
	s.goodbye.said = make(chan struct{})
	s.goodbye.lastServed.Store(wire.MaxVarint)
	s.leases.session, s.outbox.session = s, s
	now := time.Now()
	s.touch(now)
	s.identify(who, now)
	return s
}

// Peer returns what Config.Identify returned for the other side.
func (s *Session) Peer() any { return s.remote.peer }

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

// Done returns a channel that is closed when the connection ends.
func (s *Session) Done() <-chan struct{} { return s.ctx.Done() }

// RTT returns the smoothed round-trip time of the connection.
func (s *Session) RTT() time.Duration { return s.conn.Stats().RTT }

// ended reports whether the connection has ended. It is true as soon as an operation has failed
// because of that: a call that is retried must not meet the connection that was just lost.
func (s *Session) ended() bool { return s.life.over.Load() || s.ctx.Err() != nil }

// hasEnded reports whether err, of an operation on the connection or on one of its streams, says that
// the connection has ended, and notes it: operations on a connection end before the connection's
// context.
func (s *Session) hasEnded(err error) bool {
	if !carrier.HasEnded(err) {
		return false
	}
	s.life.over.Store(true)
	return true
}

// usable reports whether new calls may start.
func (s *Session) usable() bool { return !s.ended() && !s.isDraining() && !s.life.retired.Load() }

// identify notes who the peer is. A connection does not outlive a certificate: the janitor
// closes it within the second after one expires. The dialing side moves to a new connection when a twentieth to a tenth
// of the time is left, so that calls can end. The moment is random so that a fleet does not move at once.
func (s *Session) identify(who Identity, now time.Time) {
	s.remote.peer, s.life.expires = who.Peer, who.Expires
	s.site = site{who.Key, addrPort(s.conn.RemoteAddr())}
	s.shares = s.endpoint.pools.shares(&who, s.remoteAddr)
	s.caller = s.endpoint.callers.join(s.shares.conns.Key())
	if o, ok := s.ctx.Value(ownerKey{}).(*owner); ok {
		o.session.Store(s)
	}
	if left := who.Expires.Sub(now); !who.Expires.IsZero() {
		s.life.retireAt = now.Add(left - time.Duration((1+rand.Float64())*float64(left)/20)) //nolint:gosec // jitter is not a secret
	}
}

// close ends the connection without waiting. retired stops new calls until the context ends a moment later.
func (s *Session) close(code wire.Code, reason string) {
	s.life.retired.Store(true)
	s.conn.Close(code, reason)
	s.group.Stop(ErrClosed)
}

// finish waits for the end of the connection and the session's goroutines, and forgets the session. Its owner calls it.
func (s *Session) finish() {
	<-s.ctx.Done()
	why := s.conn.Cause()
	s.charge(why, time.Now())
	s.group.Stop(why)
	s.group.Wait()
	e := s.endpoint
	e.known.mu.Lock()
	defer e.known.mu.Unlock()
	delete(e.known.sessions, s)
	e.leaveLocked(s)
	if s.serving.admitted {
		s.shares.conns.Give(1)
		e.known.accepted--
		if e.known.accepted == 0 && e.drain.refusing.Load() {
			e.drain.gone.Set()
		}
	}
	s.disown()
}
