// Package memconn carries connections in memory, for tests that are about sessions and not about packets.
//
// # Overview
//
// [Pair] returns the two ends of a connection. What one side writes is at the other at once. Windows of streams and of the
// connection are counted in both directions, and so are the streams that an end may open.
//
// # Concurrency
//
// All types are safe for concurrent use, as package carrier says.
package memconn

import (
	"cmp"
	"context"
	"net"
	"slices"
	"sync"

	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/wire"
)

// End says where one end of a connection is, and what it grants the other.
type End struct {
	Addr *net.UDPAddr
	// Streams is how many streams the other end may have open.
	Streams int
	// Releases means that a stream which is over needs no ReleaseCredit here.
	Releases bool
	// Window is how many bytes of the other end may wait to be read, and StreamWindow how many of one stream. Zero means
	// 32 MiB and 6 MiB.
	Window, StreamWindow int
}

// Conn is one end of a connection.
type Conn struct {
	*pair

	end   End
	other *Conn

	ctx    context.Context //nolint:containedctx // it ends with the connection
	cancel context.CancelCauseFunc

	// The fields below are guarded by pair.mu.

	// ended is how the connection ended. It is nil before.
	ended error
	// streams holds all streams of this end that are not over.
	streams map[*stream]struct{}
	// allowed is how many more streams this end may open, and waiting holds the callers that wait for one.
	allowed int
	waiting []chan *stream
	// opened holds the streams that this end has opened and the other does not know yet, in the order of their numbers.
	opened []*stream
	next   uint64
	// both and uni hold the streams that wait for Accept and AcceptUni.
	both, uni queue
	// window is how many more bytes this end may send, and holding the streams with bytes that wait for more of it.
	window  int
	holding map[*stream]struct{}
	// more wakes writers that wait for window.
	more notify.Broadcast
	// stats counts a packet for each write, and one that acknowledges it.
	stats carrier.Stats
}

// pair is what the two ends share.
type pair struct {
	mu sync.Mutex // guards the state of both ends and of their streams
}

// queue holds streams that wait to be accepted.
type queue struct {
	streams []*stream
	arrived notify.Flag
}

// Pair returns the ends of a new connection. The values of dialing and accepting are those of their contexts.
func Pair(dialing, accepting context.Context, dialer, acceptor End) (here, there *Conn) {
	p := &pair{}
	here, there = p.newConn(dialing, dialer), p.newConn(accepting, acceptor)
	there.next = 1
	here.join(there)
	there.join(here)
	return here, there
}

func (p *pair) newConn(ctx context.Context, end End) *Conn {
	end.Window, end.StreamWindow = cmp.Or(end.Window, 32<<20), cmp.Or(end.StreamWindow, 6<<20)
	c := &Conn{
		pair: p, end: end, streams: make(map[*stream]struct{}), holding: make(map[*stream]struct{}),
		both: queue{arrived: notify.NewFlag()}, uni: queue{arrived: notify.NewFlag()},
	}
	c.ctx, c.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	return c
}

// join makes c the end opposite to other.
func (c *Conn) join(other *Conn) {
	c.other, c.allowed, c.window = other, other.end.Streams, other.end.Window
}

// TryOpen implements carrier.Conn.
func (c *Conn) TryOpen() (carrier.Stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ended != nil:
		return nil, c.ended
	case len(c.waiting) > 0 || c.allowed == 0:
		return nil, carrier.ErrNoStream
	}
	c.allowed--
	return c.openLocked(), nil
}

// Open implements carrier.Conn.
func (c *Conn) Open(ctx context.Context) (carrier.Stream, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := c.TryOpen()
	if err != carrier.ErrNoStream { //nolint:errorlint // TryOpen wraps nothing
		return s, err
	}
	c.mu.Lock()
	w := make(chan *stream, 1)
	c.waiting = append(c.waiting, w)
	c.offerLocked()
	if c.ended != nil {
		close(w)
	}
	c.mu.Unlock()
	select {
	case s, ok := <-w:
		if !ok {
			return nil, c.why()
		}
		return s, nil
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = slices.DeleteFunc(c.waiting, func(other chan *stream) bool { return other == w })
	// A stream that came at the same moment is not lost.
	select {
	case s, ok := <-w:
		if ok {
			return s, nil
		}
	default:
	}
	return nil, ctx.Err()
}

func (c *Conn) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// offerLocked gives streams to the callers that wait for one, as far as the other end allows.
func (c *Conn) offerLocked() {
	for c.allowed > 0 && len(c.waiting) > 0 && c.ended == nil {
		c.allowed--
		c.waiting[0] <- c.openLocked()
		c.waiting = c.waiting[1:]
	}
}

// openLocked makes a stream with both directions.
func (c *Conn) openLocked() *stream {
	s := newStream(c, c.next)
	c.next += 4
	t := newStream(c.other, s.id)
	s.other, t.other = t, s
	t.accepted = true
	c.streams[s], c.other.streams[t] = struct{}{}, struct{}{}
	c.opened = append(c.opened, s)
	return s
}

// tellLocked tells the other end of a stream, and of those that were opened before.
func (c *Conn) tellLocked(s *stream) {
	for len(c.opened) > 0 && c.opened[0].id <= s.id {
		c.other.both.putLocked(c.opened[0].other)
		c.opened = c.opened[1:]
	}
}

func (q *queue) putLocked(s *stream) {
	q.streams = append(q.streams, s)
	q.arrived.Set()
}

// OpenControl implements carrier.Conn.
func (c *Conn) OpenControl() (carrier.Sender, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		return nil, c.ended
	}
	s := newStream(c, 2)
	t := newStream(c.other, 2)
	s.other, t.other = t, s
	s.oneWay, t.oneWay, t.accepted = true, true, true
	c.streams[s], c.other.streams[t] = struct{}{}, struct{}{}
	return s, nil
}

// Accept implements carrier.Conn.
func (c *Conn) Accept(ctx context.Context) (carrier.Stream, error) {
	s, err := c.accept(ctx, &c.both)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// AcceptUni implements carrier.Conn.
func (c *Conn) AcceptUni(ctx context.Context) (carrier.Receiver, error) {
	s, err := c.accept(ctx, &c.uni)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (c *Conn) accept(ctx context.Context, q *queue) (*stream, error) {
	for {
		c.mu.Lock()
		if c.ended != nil {
			defer c.mu.Unlock()
			return nil, c.ended
		}
		if len(q.streams) > 0 {
			s := q.streams[0]
			q.streams = q.streams[1:]
			if len(q.streams) > 0 {
				q.arrived.Set()
			}
			c.mu.Unlock()
			return s, nil
		}
		c.mu.Unlock()
		select {
		case <-q.arrived:
		case <-c.ctx.Done():
		case <-ctx.Done():
			if c.ctx.Err() == nil {
				return nil, ctx.Err()
			}
		}
	}
}

// Close implements carrier.Conn.
func (c *Conn) Close(code wire.Code, reason string) {
	c.End(
		&carrier.EndError{End: carrier.EndClosed, Code: code, Reason: reason},
		&carrier.EndError{End: carrier.EndClosed, Code: code, Reason: reason, Remote: true},
	)
}

// End ends the connection as if this had happened to the two ends. The first end counts.
func (c *Conn) End(here, there *carrier.EndError) {
	c.mu.Lock()
	c.endLocked(here)
	c.other.endLocked(there)
	c.mu.Unlock()
	// The context of the other end goes last, so that this end, which closes, knows of the end first.
	c.cancel(c.why())
	c.other.cancel(c.other.why())
}

func (c *Conn) endLocked(why error) {
	if c.ended != nil {
		return
	}
	c.ended = why
	for _, w := range c.waiting {
		close(w)
	}
	c.waiting = nil
	c.more.All()
	for s := range c.streams {
		s.failLocked(why)
	}
	c.streams = nil
	clear(c.holding)
}

// Context implements carrier.Conn.
func (c *Conn) Context() context.Context { return c.ctx }

// Cause implements carrier.Conn.
func (c *Conn) Cause() error { return context.Cause(c.ctx) }

// Stats implements carrier.Conn.
func (c *Conn) Stats() carrier.Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// RemoteAddr implements carrier.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.other.end.Addr }

// LocalAddr implements carrier.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.end.Addr }
