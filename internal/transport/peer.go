package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/internal/backoff"
	"github.com/linkmesh/link/internal/wire"
)

type peerKey struct{ identity, addr string }

// Peer reaches one identity at one address. It keeps a connection of each class,
// dials it when it is needed and backs off when a dial fails.
type Peer struct {
	endpoint *Endpoint
	key      peerKey
	// conf is what the last call of Endpoint.Peer gave.
	conf  atomic.Pointer[PeerConfig]
	refs  int // guarded by endpoint.known.mu
	slots [2]slot
	// said holds the tags that the peer announced last, on any connection.
	said atomic.Pointer[[]string]
}

type slot struct {
	session atomic.Pointer[Session]

	mu       sync.Mutex // guards the fields below
	dialing  *Dial
	failures int
	// until is when the next dial may begin. last is why the dial before it failed, and failed when.
	until  time.Time
	last   error
	failed time.Time
}

// Dial is a dial of one connection, shared by all callers that need it.
type Dial struct {
	began time.Time
	done  chan struct{}
	// session and err are set before done is closed.
	session *Session
	err     error
}

// Began returns when the dial began.
func (d *Dial) Began() time.Time { return d.began }

// Done returns a channel that is closed when the dial has ended, well or not.
func (d *Dial) Done() <-chan struct{} { return d.done }

// Result returns the connection, which may have ended since. It must not be called before Done is closed. The error
// says NotProcessed.
func (d *Dial) Result() (*Session, error) { return d.session, d.err }

// PeerConfig says how a peer is reached. It is equal for equal identities and addresses.
type PeerConfig struct {
	// TLS returns the configuration of a handshake. It is called for each.
	TLS func() *tls.Config
	// Tags, if it is not nil, is called with the tags that the peer announces, on
	// each connection before it is used and when they change. It must not block or
	// modify tags.
	Tags func(addr string, tags []string)
	// MayDial, if it is not nil, is called in addition to Config.MayDial.
	MayDial func(netip.Addr) error
}

// Peer returns the peer with this identity and address. Equal arguments give the same
// Peer, which uses conf from then on. The caller must call [Peer.Release].
func (e *Endpoint) Peer(identity, addr string, conf PeerConfig) *Peer {
	key := peerKey{identity, addr}
	e.known.mu.Lock()
	defer e.known.mu.Unlock()
	p := e.known.peers[key]
	if p == nil {
		p = &Peer{endpoint: e, key: key}
		e.known.peers[key] = p
	}
	p.conf.Store(&conf)
	p.refs++
	return p
}

// Release drops a reference to the peer. Its connections end when they are idle.
func (p *Peer) Release() {
	e := p.endpoint
	e.known.mu.Lock()
	defer e.known.mu.Unlock()
	if p.refs--; p.refs == 0 {
		delete(e.known.peers, p.key)
	}
}

// Live returns the session of class if there is one that takes calls, and nil
// otherwise. It does not dial.
func (p *Peer) Live(class Class) *Session {
	if s := p.slots[class].session.Load(); s != nil && s.usable() {
		return s
	}
	return nil
}

// Said returns the tags that the peer announced last, if there is a live connection to
// it or one is being dialed. The caller must not modify them.
func (p *Peer) Said() (tags []string, ok bool) {
	said := p.said.Load()
	if said == nil {
		return nil, false
	}
	for class := range p.slots {
		slot := &p.slots[class]
		slot.mu.Lock()
		dialing := slot.dialing != nil
		slot.mu.Unlock()
		if dialing || p.Live(Class(class)) != nil {
			return *said, true
		}
	}
	return nil, false
}

// Probe asks the peer for a sign of life on each connection, because a registry says
// that the instance is gone. A connection without an answer ends.
func (p *Peer) Probe() {
	for class := range p.slots {
		if s := p.slots[class].session.Load(); s != nil && !s.ended() {
			s.suspect()
		}
	}
}

// Expect tells the peer which instance a registry shows at the address. A connection to
// another instance takes no new calls, and that instance is asked for a sign of life, because
// its process is likely to be gone. The name that an instance gives itself need only be a prefix
// of the registry's, because a registry may have appended to it.
func (p *Peer) Expect(instance string) {
	for class := range p.slots {
		s := p.slots[class].session.Load()
		if s == nil || s.ended() || s.remote.setup.Instance == "" || strings.HasPrefix(instance, s.remote.setup.Instance) {
			continue
		}
		s.retire(wire.CodeNone)
		s.suspect()
	}
}

// RetryAt returns when the connection of class may be dialed again after a failed
// dial. The zero Time means now.
func (p *Peer) RetryAt(class Class) time.Time {
	slot := &p.slots[class]
	slot.mu.Lock()
	defer slot.mu.Unlock()
	return slot.until
}

// Redial ends the backoff after a dial that found nobody, so that the connection of class may be dialed again now. It
// does nothing and reports false unless that dial ended at least after ago.
func (p *Peer) Redial(class Class, after time.Duration) bool {
	slot := &p.slots[class]
	slot.mu.Lock()
	defer slot.mu.Unlock()
	now := time.Now()
	te, ok := errors.AsType[*Error](slot.last)
	if !ok || te.Reason != ReasonUnreachable || slot.dialing != nil || !now.Before(slot.until) || now.Sub(slot.failed) < after {
		return false
	}
	slot.until = time.Time{}
	return true
}

// Renew forgets failed dials, because there is news that the peer is up.
func (p *Peer) Renew() {
	for class := range p.slots {
		slot := &p.slots[class]
		slot.mu.Lock()
		slot.failures, slot.last, slot.until = 0, nil, time.Time{}
		slot.mu.Unlock()
	}
}

// Connect begins to dial the connection of class, unless a dial is in flight, and returns the dial. The dial has
// already ended if there is a connection. It takes at most patience times Limits.DialTimeout. After a failed dial,
// Connect returns the error of that dial until a growing, jittered time has passed. Every error says NotProcessed.
func (p *Peer) Connect(class Class) (*Dial, error) {
	slot := &p.slots[class]
	slot.mu.Lock()
	defer slot.mu.Unlock()
	if slot.dialing != nil {
		return slot.dialing, nil
	}
	if s := slot.session.Load(); s != nil && !s.ended() && !s.life.retired.Load() {
		if s.usable() {
			d := &Dial{began: time.Now(), done: make(chan struct{}), session: s}
			close(d.done)
			return d, nil
		}
		return nil, &Error{Reason: ReasonDraining, Peer: p.key.addr, NotProcessed: true}
	}
	if time.Now().Before(slot.until) {
		return nil, slot.last
	}
	d := &Dial{began: time.Now(), done: make(chan struct{})}
	if !p.endpoint.group.Go(func(ctx context.Context) { p.run(ctx, slot, d) }) {
		return nil, &Error{Reason: ReasonClosed, NotProcessed: true, Err: ErrClosed}
	}
	slot.dialing = d
	return d, nil
}

// run dials and publishes the result in d and slot.
func (p *Peer) run(ctx context.Context, slot *slot, d *Dial) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience*p.endpoint.limits.DialTimeout, p.silence())
	defer cancel()
	d.session, d.err = p.dialPatiently(ctx)
	slot.mu.Lock()
	if slot.dialing = nil; d.err == nil {
		slot.failures, slot.last, slot.until = 0, nil, time.Time{}
		slot.session.Store(d.session)
	} else {
		// A silent peer is not dialed again before as long as it took to notice the silence. A
		// refusal costs nothing and comes at once.
		now := time.Now()
		slot.failures++
		pause := pauses(backoffMax).Pause(slot.failures)
		if !errors.Is(d.err, errRefused) {
			pause = max(pause, now.Sub(d.began))
		}
		slot.last, slot.failed, slot.until = d.err, now, now.Add(pause)
	}
	slot.mu.Unlock()
	close(d.done)
}

// patience is how long a dial goes on, in units of Limits.DialTimeout, while the peer
// answers that it has too many handshakes under way.
const patience = 2

// silence returns the error of a dial without an answer.
func (p *Peer) silence() error {
	return fmt.Errorf("no answer in %v (Limits.DialTimeout); check that the process is running and that UDP is not blocked", p.endpoint.limits.DialTimeout)
}

// The backoff between dials is like gRPC's connection backoff, but with more
// jitter and a shorter first delay.
const (
	backoffBase = 100 * time.Millisecond
	backoffMax  = 30 * time.Second
)

// pauses returns the pauses between dials, which grow from backoffBase to most.
func pauses(most time.Duration) backoff.Backoff {
	return backoff.Backoff{Least: backoffBase, Most: most, Factor: 1.6}
}

// refusedRetry is the longest pause between two dials of an address where nobody listens:
// a restarted process takes calls again as soon as that.
const refusedRetry = 50 * time.Millisecond

// dialPatiently retries while the peer says that it has too many handshakes under way:
// many nodes that start at once must all get in. It also retries while nobody listens at the
// address, for Limits.DialTimeout, as if the address were silent: a process that restarts there
// is back in less. If ctx ends while it retries, the error is the last answer of the peer.
func (p *Peer) dialPatiently(ctx context.Context) (*Session, error) {
	var said error
	again := false
	began := time.Now()
	for try := 1; ; try++ {
		attempt, cancel := context.WithTimeoutCause(ctx, p.endpoint.limits.DialTimeout, p.silence())
		s, err := p.endpoint.dial(attempt, p, again)
		cancel()
		pause := pauses(time.Second).Pause(try)
		switch te, ok := errors.AsType[*Error](err); {
		case !ok:
			// The dial succeeded.
			return s, err
		case errors.Is(err, errRefused) && time.Since(began) < p.endpoint.limits.DialTimeout:
			pause, again = min(pause, refusedRetry), true
		case te.Reason != ReasonOverloaded:
			if said != nil && ctx.Err() != nil {
				return nil, said
			}
			return nil, err
		}
		said = err
		if backoff.Sleep(ctx, pause) != nil {
			return nil, said
		}
	}
}
