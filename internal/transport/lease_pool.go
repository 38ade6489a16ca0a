package transport

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/wire"
)

// leasePool keeps the idle leases of a session, reuses the last used one first, and
// hands streams to callers that wait for one.
type leasePool struct {
	session *Session

	mu   sync.Mutex // guards the fields below
	idle []*lease   // oldest first
	busy []*lease
	// watched means that the watcher knows that leases are busy.
	watched bool
	waiters []chan *lease
	// outside counts the callers that wait for a stream of their own.
	outside int
	// opening means that a goroutine waits for a stream on behalf of the waiters.
	opening bool
	// scan is what inUse returned. Only the watcher uses it.
	scan []*lease
}

var errWaiters = errors.New("too many calls wait for a stream on one connection; see Limits.Streams.Waiters")

// use notes that a lease is in use, and tells the watcher if it is the first in a while.
func (p *leasePool) use(l *lease) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.useLocked(l)
}

func (p *leasePool) useLocked(l *lease) {
	if l.place > 0 {
		return
	}
	l.phase.Store(phaseIdle)
	p.busy = append(p.busy, l)
	l.place = len(p.busy)
	if !p.watched {
		p.watched = true
		p.session.endpoint.watcher.add(p.session)
	}
}

// remove notes that a lease is no longer in use.
func (p *leasePool) remove(l *lease) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.removeLocked(l)
}

func (p *leasePool) removeLocked(l *lease) {
	if l.place == 0 {
		return
	}
	last := len(p.busy) - 1
	moved := p.busy[last]
	p.busy[l.place-1], moved.place = moved, l.place
	p.busy[last], l.place = nil, 0
	p.busy = p.busy[:last]
}

// inUse returns the leases in use. The slice is valid until the next call.
func (p *leasePool) inUse() []*lease {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.scan = append(p.scan[:0], p.busy...)
	return p.scan
}

// unwatch reports whether the watcher may forget the session, because every call is watched.
// The next call then tells the watcher of the session again.
func (p *leasePool) unwatch() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.busy {
		if phase := l.phase.Load() & phaseMask; phase == phaseIdle || phase == phaseYoung {
			return false
		}
	}
	p.watched = false
	return true
}

// takeIdleLocked returns the idle lease that was used last, or nil. It drops leases that
// the peer has closed meanwhile.
func (p *leasePool) takeIdleLocked() *lease {
	for n := len(p.idle); n > 0; n = len(p.idle) {
		l := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		if l.out.ctx.Err() == nil {
			p.useLocked(l)
			return l
		}
		l.stream.CancelRead(wire.CodeNone)
	}
	return nil
}

// get returns a lease. If the peer allows no further stream, it waits until ctx or deadline.
func (p *leasePool) get(ctx context.Context, deadline time.Time) (*lease, error) {
	s := p.session
	p.mu.Lock()
	if l := p.takeIdleLocked(); l != nil {
		p.mu.Unlock()
		return l, nil
	}
	waiting := len(p.waiters)
	p.mu.Unlock()
	if waiting == 0 {
		stream, err := s.conn.TryOpen()
		if err == nil {
			l := s.newLease(stream)
			p.use(l)
			return l, nil
		}
		if !errors.Is(err, carrier.ErrNoStream) {
			return nil, s.streamError(err, true)
		}
	}
	return p.wait(ctx, deadline)
}

func (p *leasePool) wait(ctx context.Context, deadline time.Time) (*lease, error) {
	s := p.session
	p.mu.Lock()
	// A lease that was put back since get looked would not wake us.
	if l := p.takeIdleLocked(); l != nil {
		p.mu.Unlock()
		return l, nil
	}
	if p.fullLocked() {
		p.mu.Unlock()
		return nil, &Error{Reason: ReasonOverloaded, Peer: s.remoteAddr, NotProcessed: true, Err: errWaiters}
	}
	w := make(chan *lease, 1)
	p.waiters = append(p.waiters, w)
	if !p.opening {
		p.opening = s.group.Go(p.open)
	}
	p.mu.Unlock()

	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	var err error
	select {
	case l := <-w:
		l.waited = true
		return l, nil
	case <-ctx.Done():
		err = &Error{Reason: ReasonCanceled, Peer: s.remoteAddr, NotProcessed: true, Detail: "while waiting for a stream", Err: ended(ctx)}
	case <-timer.C:
		err = &Error{Reason: ReasonCanceled, Peer: s.remoteAddr, NotProcessed: true, Detail: "while waiting for a stream", Err: context.DeadlineExceeded}
	case <-s.Done():
		err = s.lost(nil, true)
	}
	p.mu.Lock()
	for i, other := range p.waiters {
		if other == w {
			p.waiters = append(p.waiters[:i], p.waiters[i+1:]...)
			break
		}
	}
	p.mu.Unlock()
	select {
	case l := <-w:
		p.put(l)
	default:
	}
	return nil, err
}

// open opens streams as long as there are waiters, or until the connection ends.
func (p *leasePool) open(ctx context.Context) {
	for {
		p.mu.Lock()
		if len(p.waiters) == 0 {
			p.opening = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		stream, err := p.session.conn.Open(ctx)
		if err != nil {
			p.mu.Lock()
			p.opening = false
			p.mu.Unlock()
			return
		}
		p.put(p.session.newLease(stream))
	}
}

// put takes back a lease after a clean end.
func (p *leasePool) put(l *lease) {
	p.mu.Lock()
	if len(p.waiters) > 0 {
		w := p.waiters[0]
		p.waiters = p.waiters[1:]
		p.useLocked(l)
		p.mu.Unlock()
		w <- l // never blocks: w has room for the only send
		return
	}
	p.removeLocked(l)
	if len(p.idle) < p.session.endpoint.limits.Streams.IdleLeases {
		p.idle = append(p.idle, l)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	l.retire()
}

// expire closes leases that have been idle since before the given time.
func (p *leasePool) expire(before time.Time) {
	p.mu.Lock()
	n := 0
	for n < len(p.idle) && p.idle[n].freed.Before(before) {
		n++
	}
	if n == 0 {
		p.mu.Unlock()
		return
	}
	old := p.idle[:n:n]
	p.idle = append([]*lease(nil), p.idle[n:]...)
	p.mu.Unlock()
	for _, l := range old {
		l.retire()
	}
}
