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
	frames  []byte // the frames of the request; reused
	fresh   bool   // the stream type was not written yet
	odd     bool   // the call under way is the second on the stream, the fourth and so on

	maxReply uint64 // bytes of the largest reply of the call under way
	freed    time.Time
	waited   bool // the call that got it had to wait
	place    int  // in leasePool.busy, and one; 0 while it is idle; guarded by leasePool.mu

	// phase holds one of the phases below and above it the tick of
	// the watcher when the call began. Whoever moves it from phaseYoung owns ctx and
	// deadline: the call, to end, or the watcher, under mu.
	phase  atomic.Uint64
	ending atomic.Uint32 // endNone, endCanceled, endDeadline or endMoved

	ctx      context.Context //nolint:containedctx // the context of the call under way
	deadline time.Time
	mover    Mover

	mu      sync.Mutex // guards the fields below
	moved   bool       // the call was told to go elsewhere
	unwatch func() bool
	timer   *time.Timer // ends the call at its deadline; reused
	timed   bool
}

// The phases of a lease.
const (
	phaseIdle    uint64 = iota // a call may begin
	phaseYoung                 // a call is under way that nobody watches yet
	phaseWatched               // a call is under way; its context and deadline are watched
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

// stop resets the stream; the reader of the reply wakes up.
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

// finish takes the call off the lease. It reports whether nobody has touched
// the stream.
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

// watchOld watches the call if it has lasted for a tick. It reports whether it
// is too young, or about to begin.
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

// leasePool keeps the idle leases of a session, the last used first, and hands
// streams to those who wait for one.
type leasePool struct {
	session *Session

	mu      sync.Mutex // guards the fields below
	idle    []*lease   // oldest first
	busy    []*lease   // those in use
	watched bool       // the watcher knows that some are
	waiters []chan *lease
	outside int      // those who wait for a stream of their own
	opening bool     // a goroutine waits for a stream on behalf of the waiters
	scan    []*lease // what inUse returned; the watcher's alone
}

var errWaiters = errors.New("too many calls wait for a stream on one connection; see Limits.Waiters")

// use notes that a lease is in use. It is told to the watcher when it is the first in
// a while.
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

// inUse returns the leases in use.
func (p *leasePool) inUse() []*lease {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.scan = append(p.scan[:0], p.busy...)
	return p.scan
}

// unwatch reports whether the watcher may forget the session: there is no call that it
// does not watch yet, and the next one will be told.
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

// takeIdleLocked returns the idle lease that was used last, or nil. Those that the peer
// has closed meanwhile are dropped.
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

// get returns a lease. It waits for one if the peer allows no further stream.
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
	if l := p.takeIdleLocked(); l != nil { // put back since get looked: nobody would wake us for it
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
	case l := <-w: // it came in the same moment
		p.put(l)
	default:
	}
	return nil, err
}

// open waits for streams as long as there are waiters.
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
			return // the connection ended; waiters see that too
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
		w <- l // has room for one, and only one is sent
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

// expire closes leases that were idle since before.
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
	if l.fresh { // the peer does not know the stream yet; give its number back
		l.stream.CancelWrite(quic.StreamErrorCode(wire.CodeNone))
		l.stream.CancelRead(quic.StreamErrorCode(wire.CodeNone))
		return
	}
	_ = l.stream.Close() // fails only if the stream ended already
	l.stream.CancelRead(quic.StreamErrorCode(wire.CodeNone))
}
