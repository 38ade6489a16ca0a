package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/internal/wire"
)

type peerKey struct{ identity, addr string }

// Peer is a place to reach one identity at one address. It keeps a connection
// of each class, dials it when it is needed and backs off when it cannot.
type Peer struct {
	endpoint *Endpoint
	key      peerKey
	conf     atomic.Pointer[PeerConfig] // as the last who asked for the peer gave it
	refs     int                        // guarded by endpoint.mu
	slots    [2]slot
	said     atomic.Pointer[[]string] // tags, on the latest connection or when they changed
}

type slot struct {
	session atomic.Pointer[Session]

	mu       sync.Mutex // guards the fields below
	dialing  *Dial
	failures int
	until    time.Time // no dial before
	last     error     // why the dial before until failed
	failed   time.Time // when it did
}

// Dial is a dial of one connection, which serves all who ask.
type Dial struct {
	began   time.Time
	done    chan struct{}
	session *Session // with err set before done is closed
	err     error
}

// Began returns when the dial began.
func (d *Dial) Began() time.Time { return d.began }

// Done returns a channel that is closed when the dial has ended, well or not.
func (d *Dial) Done() <-chan struct{} { return d.done }

// Result returns the connection, once the dial has ended, which may have ended since. The error says NotProcessed.
func (d *Dial) Result() (*Session, error) { return d.session, d.err }

// PeerConfig is how a peer is reached, equal for equal identities and addresses.
type PeerConfig struct {
	// TLS is asked for each dial.
	TLS func() *tls.Config
	// Tags, if it is not nil, hears the tags that the peer announces, on each
	// connection before it is used and when they change. It must not block, nor
	// modify tags.
	Tags func(addr string, tags []string)
	// MayDial, if it is not nil, is asked as Config.MayDial is, besides.
	MayDial func(netip.Addr) error
}

// Peer returns the peer with this identity and address; equal ones give the same
// value, which goes by conf from then on. [Peer.Release] gives it back.
func (e *Endpoint) Peer(identity, addr string, conf PeerConfig) *Peer {
	key := peerKey{identity, addr}
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.peers[key]
	if p == nil {
		p = &Peer{endpoint: e, key: key}
		e.peers[key] = p
	}
	p.conf.Store(&conf)
	p.refs++
	return p
}

// Release gives the peer back. Its connections end when they are idle.
func (p *Peer) Release() {
	e := p.endpoint
	e.mu.Lock()
	defer e.mu.Unlock()
	if p.refs--; p.refs == 0 {
		delete(e.peers, p.key)
	}
}

// Live returns the session of class if there is one that takes calls, without
// dialing.
func (p *Peer) Live(class Class) *Session {
	if s := p.slots[class].session.Load(); s != nil && s.usable() {
		return s
	}
	return nil
}

// Said returns the tags that the peer announced last, if there is a connection to
// it, or one is being made. They must not be modified.
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

// Probe asks live connections for a sign of life, because a registry says that
// the instance is gone. A connection that does not answer ends.
func (p *Peer) Probe() {
	for class := range p.slots {
		if s := p.slots[class].session.Load(); s != nil && !s.ended() {
			s.suspect()
		}
	}
}

// Expect says which instance a registry shows at the address. A connection to another
// one takes no new calls, and is asked for a sign of life: its process is likely to be gone. Names
// are compared as far as the instance's own goes, for a registry may have added to it.
func (p *Peer) Expect(instance string) {
	for class := range p.slots {
		s := p.slots[class].session.Load()
		if s == nil || s.ended() || s.remote.Instance == "" || strings.HasPrefix(instance, s.remote.Instance) {
			continue
		}
		s.retire(wire.CodeNone)
		s.suspect()
	}
}

// RetryAt returns when the connection of class may be dialed again after a dial
// that failed; the zero Time if it may be now.
func (p *Peer) RetryAt(class Class) time.Time {
	slot := &p.slots[class]
	slot.mu.Lock()
	defer slot.mu.Unlock()
	return slot.until
}

// Redial lets the connection of class be dialed again now, though a dial that found nobody has made it wait for longer. It
// reports false unless that dial ended as long ago as after says.
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

// Renew forgets dials that failed: there is news that the peer is there.
func (p *Peer) Renew() {
	for class := range p.slots {
		slot := &p.slots[class]
		slot.mu.Lock()
		slot.failures, slot.last, slot.until = 0, nil, time.Time{}
		slot.mu.Unlock()
	}
}

// Connect begins to dial the connection of class and returns the dial, which has ended if there is a connection
// already. It takes patience times Limits.DialTimeout at most. After a failed dial, the
// error is that dial's until a jittered, growing time has passed. Every error
// says NotProcessed.
func (p *Peer) Connect(class Class) (*Dial, error) {
	slot := &p.slots[class]
	slot.mu.Lock()
	defer slot.mu.Unlock()
	if slot.dialing != nil {
		return slot.dialing, nil
	}
	if s := slot.session.Load(); s != nil && !s.ended() && !s.retired.Load() {
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

// run dials and tells everybody who waits.
func (p *Peer) run(ctx context.Context, slot *slot, d *Dial) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience*p.endpoint.limits.DialTimeout, p.silence())
	defer cancel()
	d.session, d.err = p.dialPatiently(ctx)
	slot.mu.Lock()
	if slot.dialing = nil; d.err == nil {
		slot.failures, slot.last, slot.until = 0, nil, time.Time{}
		slot.session.Store(d.session)
	} else {
		// What is silent is not tried again before as long as it took to notice.
		now := time.Now()
		pause := backoff(slot.failures, backoffMax)
		if !errors.Is(d.err, errRefused) { // a refusal costs nothing and is there at once
			pause = max(pause, now.Sub(d.began))
		}
		slot.last, slot.failed, slot.until = d.err, now, now.Add(pause)
		slot.failures++
	}
	slot.mu.Unlock()
	close(d.done)
}

// patience is how many times Limits.DialTimeout a dial goes on while the peer
// answers that it has too many handshakes under way.
const patience = 2

// silence is why a dial ends without an answer.
func (p *Peer) silence() error {
	return fmt.Errorf("no answer in %v (Limits.DialTimeout); is the process there, and does UDP get through?", p.endpoint.limits.DialTimeout)
}

// Backoff between dials, as gRPC's connection backoff has it, but fully
// jittered and from a shorter first delay.
const (
	backoffBase = 100 * time.Millisecond
	backoffMax  = 30 * time.Second
)

// backoff returns a random time up to backoffBase·1.6^n, but not above most, and
// at least half of it.
func backoff(n int, most time.Duration) time.Duration {
	d := float64(backoffBase)
	for range min(n, 64) {
		d *= 1.6
	}
	d = min(d, float64(most))
	return time.Duration(d/2 + rand.Float64()*d/2) //nolint:gosec // jitter is not a secret
}

// refusedRetry is the longest pause between two dials of an address where nobody listens:
// a process that is started again takes calls as soon.
const refusedRetry = 50 * time.Millisecond

// dialPatiently tries again while the peer says that it has too many handshakes
// under way: many nodes that start at once must all get in. It also does while nobody
// listens at the address, for Limits.DialTimeout as if the address were silent: a process that
// starts again there is back in less. If the time is up while it tries, what the peer said last is
// the error.
func (p *Peer) dialPatiently(ctx context.Context) (*Session, error) {
	var said error
	again := false // nobody listened at the address
	began := time.Now()
	for try := 0; ; try++ {
		attempt, cancel := context.WithTimeoutCause(ctx, p.endpoint.limits.DialTimeout, p.silence())
		s, err := p.endpoint.dial(attempt, p, again)
		cancel()
		pause := backoff(try, time.Second)
		switch te, ok := errors.AsType[*Error](err); {
		case !ok: // it worked
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
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, said
		}
	}
}
