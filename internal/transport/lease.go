package transport

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link/internal/wire"
)

// lease is a call stream that carries one unary call at a time. It is reused
// after a clean end and thrown away after any other.
type lease struct {
	session *Session
	stream  *quic.Stream
	out     callWriter
	fr      frameReader
	frames  []byte
	// fresh means that the stream type was not written yet, odd that the call is the second, fourth, ... on the stream.
	fresh bool
	odd   bool
	// maxReply bounds the reply of the call in flight, in bytes.
	maxReply uint64
	freed    time.Time
	// waited means that the call had to wait for the lease.
	waited bool
	// place is the index in leasePool.busy plus one, or 0 while idle. It is guarded by leasePool.mu.
	place int

	// phase holds one of the phases below, and above it the tick of the watcher when the
	// call began. Whoever moves it from phaseYoung owns ctx and deadline: the call, which
	// ends, or whoever begins to watch the call, under mu.
	phase  atomic.Uint64
	ending atomic.Uint32 // endNone, endCanceled, endDeadline or endMoved

	ctx      context.Context //nolint:containedctx // the context of the call under way
	deadline time.Time
	mover    Mover

	mu      sync.Mutex // guards the fields below
	moved   bool       // the call was told to go elsewhere
	unwatch func() bool
	// timer ends the call at its deadline. It is reused.
	timer *time.Timer
	timed bool
}

// The phases of a lease.
const (
	phaseIdle    uint64 = iota // a call may begin
	phaseYoung                 // a call is in flight and not watched yet
	phaseWatched               // a call is in flight; its context and deadline are watched
	phaseDone                  // the call is over; its reply may be held
	phaseMask    = 3
	phaseBits    = 2
)

// How a call was ended from our side.
const (
	endNone uint32 = iota
	endCanceled
	endDeadline
	endMoved
)

func (s *Session) newLease(stream *quic.Stream) *lease {
	l := &lease{session: s, stream: stream, fresh: true}
	l.out = newCallWriter(&s.outbox, stream, false)
	l.fr = newFrameReader(stream, &s.endpoint.limits, s.shares.bytes, false)
	return l
}

// stop resets the stream, which wakes the reader of the reply.
func (l *lease) stop(why uint32, code wire.Code) {
	if l.ending.CompareAndSwap(endNone, why) {
		l.stream.CancelRead(quic.StreamErrorCode(code))
		l.stream.CancelWrite(quic.StreamErrorCode(code))
	}
}

// begin puts a call on the lease.
func (l *lease) begin(ctx context.Context, now, deadline time.Time, mover Mover) {
	l.ctx, l.deadline, l.mover = ctx, deadline, mover
	if deadline.Sub(now) < watchNow {
		l.mu.Lock()
		l.watchLocked()
		l.mu.Unlock()
		return
	}
	w := &l.session.endpoint.watcher
	l.phase.Store(w.now.Load()<<phaseBits | phaseYoung)
	if w.parked.Load() {
		w.rouse()
	}
}

// finish takes the call off the lease. It reports whether nothing has tried to stop it.
func (l *lease) finish() bool {
	untouched := true
	if v := l.phase.Load(); v&phaseMask != phaseYoung || !l.phase.CompareAndSwap(v, phaseDone) {
		l.mu.Lock()
		untouched = l.unwatch == nil || l.unwatch()
		if l.timed && !l.timer.Stop() || l.moved {
			untouched = false
		}
		l.unwatch, l.moved = nil, false
		l.phase.Store(phaseDone)
		l.mu.Unlock()
	}
	l.ctx, l.mover = nil, nil
	return untouched
}

// watchOld begins to watch the call if it has lasted for a tick. It reports whether
// the call is too young for that, or about to begin.
func (l *lease) watchOld(now uint64) bool {
	v := l.phase.Load()
	if v&phaseMask != phaseYoung {
		return v&phaseMask == phaseIdle
	}
	if now < v>>phaseBits+2 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.phase.CompareAndSwap(v, phaseWatched) {
		l.watchLocked()
		l.session.fresh.Store(true)
		l.session.alert()
	}
	return false
}

func (l *lease) watchLocked() {
	l.phase.Store(phaseWatched)
	if l.ctx.Done() != nil {
		l.unwatch = context.AfterFunc(l.ctx, func() { l.stop(endCanceled, wire.CodeCanceled) })
	}
	d, ok := l.ctx.Deadline()
	if l.timed = !ok || l.deadline.Before(d); !l.timed {
		return
	}
	left := time.Until(l.deadline)
	if l.timer == nil {
		l.timer = time.AfterFunc(left, func() { l.stop(endDeadline, wire.CodeDeadline) })
		return
	}
	l.timer.Reset(left)
}

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

var errWaiters = errors.New("too many calls wait for a stream on one connection; see Limits.Waiters")

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
		if l.stream.Context().Err() == nil {
			p.useLocked(l)
			return l
		}
		l.stream.CancelRead(quic.StreamErrorCode(wire.CodeNone))
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
		stream, err := s.conn.OpenStream()
		if err == nil {
			l := s.newLease(stream)
			p.use(l)
			return l, nil
		}
		if !errors.As(err, new(*quic.StreamLimitReachedError)) {
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
		stream, err := p.session.conn.OpenStreamSync(ctx)
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
	if len(p.idle) < p.session.endpoint.limits.IdleLeases {
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

// retire ends a stream that carries no call.
func (l *lease) retire() {
	// The peer does not know a fresh stream yet: give its number back.
	if l.fresh {
		l.stream.CancelWrite(quic.StreamErrorCode(wire.CodeNone))
		l.stream.CancelRead(quic.StreamErrorCode(wire.CodeNone))
		return
	}
	_ = l.stream.Close()
	l.stream.CancelRead(quic.StreamErrorCode(wire.CodeNone))
}
