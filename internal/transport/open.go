package transport

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/linkmesh/link/internal/clock"
	"github.com/linkmesh/link/internal/wire"
)

// maxCredit is how many bytes of credit the streams of one connection may have granted
// together: with more, streams that are not read could fill the connection's
// window and stall the others.
const maxCredit = connWindow / 4 * 3

// leastCredit is how many bytes of credit each stream may grant whatever the share of its
// peer, so that a late stream can carry something. The number of streams is bounded, too.
const leastCredit = 8 << 10

// beyondLeast returns how much of a stream's credit counts toward Limits.CreditBytes.
func beyondLeast(credit uint64) int64 { return int64(credit - min(credit, leastCredit)) }

var errCredit = fmt.Errorf("the streams of one connection may grant at most %d bytes of credit in total", maxCredit)

// reserve makes room for the growing credit of a stream, on the connection and in the peer's
// share of Limits.CreditBytes.
func (s *Session) reserve(from, to uint64) error {
	more, err := int64(min(to, maxCredit+1)-from), errCredit
	if s.usage.credit.Add(more) <= maxCredit {
		if err = s.shares.credit.Take(beyondLeast(to) - beyondLeast(from)); err == nil {
			return nil
		}
		err = fmt.Errorf("streams exceed Limits.CreditBytes: %w", err)
		s.noteShed("CreditBytes", err.Error())
	}
	s.usage.credit.Add(-more)
	return &Error{Reason: ReasonLimit, Peer: s.remoteAddr, NotProcessed: true, Err: err}
}

// unreserve gives back room that reserve made.
func (s *Session) unreserve(from, to uint64) {
	s.usage.credit.Add(int64(to) - int64(from))
	s.shares.credit.Give(beyondLeast(from) - beyondLeast(to))
}

// Open opens a stream with the headers h. It waits until the peer allows one or ctx
// ends. The stream outlives ctx.
func (s *Session) Open(ctx context.Context, h *wire.Headers) (*Stream, error) {
	if err := s.reserve(0, h.Credit.Bytes); err != nil {
		return nil, err
	}
	s.usage.streams.Add(1)
	s.alert()
	st, err := s.openStream(ctx, h)
	if err == nil && !s.group.Go(func(context.Context) { st.read(); s.usage.streams.Add(-1); s.release() }) {
		err = s.lost(nil, false)
	}
	if err != nil {
		s.unreserve(h.Credit.Bytes, 0)
		s.usage.streams.Add(-1)
		s.release()
		return nil, err
	}
	return st, nil
}

func (s *Session) openStream(ctx context.Context, h *wire.Headers) (*Stream, error) {
	if err := s.acquire(); err != nil {
		return nil, err
	}
	b := wire.AppendHeaders(wire.AppendVarint(nil, uint64(wire.StreamCall)), h)
	if len(b) > wire.MaxHeader {
		return nil, &Error{Reason: ReasonLimit, NotProcessed: true, Err: &wire.LimitError{What: "HEADERS (metadata and trace context)", Limit: wire.MaxHeader, Got: uint64(len(b))}}
	}
	stream, err := s.awaitStream(ctx)
	if err != nil {
		return nil, err
	}
	side := newSendSide(stream)
	st := s.newStream(stream, &side)
	st.grant.left, st.grant.reserved = h.Credit, h.Credit.Bytes
	if h.MaxMessage > 0 {
		st.maxMessage = int(h.MaxMessage)
	}
	st.fr = newFrameReader(stream, &s.endpoint.limits, s.shares.bytes, true)
	// The peer may have no room for b, so ctx must be able to end the write.
	stop := context.AfterFunc(ctx, func() { st.Cancel(wire.CodeCanceled) })
	err = st.out.writeAll(b)
	switch {
	case !stop():
		return nil, &Error{Reason: ReasonCanceled, Peer: s.remoteAddr, NotProcessed: err != nil, Detail: "while opening a stream", Err: ended(ctx)}
	case err != nil:
		return nil, s.streamError(err, true)
	}
	return st, nil
}

// serveStream runs the handler of an accepted stream.
func (c *Call) serveStream(route Route, now time.Time) error {
	s, e := c.Session, c.Session.endpoint
	st := s.newStream(c.stream, &c.out.sendSide)
	// The reader belongs to the stream from here on.
	st.Route, st.fr = route.Value, c.fr
	c.fr = frameReader{}
	if route.MaxMessage > 0 {
		st.maxMessage = route.MaxMessage
	}
	st.Headers = c.Headers.Clone()
	st.credit.left = st.Headers.Credit

	running := s.arrive(&route)
	admitted, returned := false, false
	var reading sync.WaitGroup
	defer func() {
		// Authorize or the handler has ended its goroutine with runtime.Goexit.
		if !returned {
			st.Cancel(wire.CodeInternal)
			reading.Wait()
		}
		s.leave(admitted)
	}()
	s.authorize(&route)
	admitted = c.admit(&route, running)
	if route.Lasting {
		e.drain.lasting.Add(1)
		defer e.drain.lasting.Add(-1)
	}
	s.usage.used.Store(clock.Of(now))
	s.usage.streams.Add(1)
	defer s.usage.streams.Add(-1)
	c.Session.alert()
	if route.Refuse != nil {
		returned = true
		st.Finish(route.Refuse)
		return nil
	}
	defer st.settleQueue()
	reading.Add(1)
	if !s.group.Go(func(context.Context) { defer reading.Done(); st.read() }) {
		reading.Done()
		returned = true
		return s.lost(nil, true)
	}
	e.cfg.Handler.ServeStream(st)
	returned = true
	c.stream.CancelRead(wire.CodeNone)
	reading.Wait()
	if st.ending.refused {
		c.refuse(costRefused)
	}
	return nil
}
