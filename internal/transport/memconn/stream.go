package memconn

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/wire"
)

// stream is one end of a stream. A stream in one direction uses only one half of it.
type stream struct {
	conn  *Conn
	other *stream
	id    uint64
	// accepted means that the other end has opened it, oneWay that it has one direction.
	accepted, oneWay bool
	// told means that the other end knows of a stream in one direction. It is guarded by pair.mu.
	told bool

	sending
	receiving

	// released means that ReleaseCredit was called, and returned that the other end may open a stream in place of this one.
	// Both are guarded by pair.mu.
	released, returned bool
}

// sending is the direction to the other end.
type sending struct {
	ctx    context.Context //nolint:containedctx // it ends with the direction
	cancel context.CancelCauseFunc
	// turn holds a token while a write is under way.
	turn chan struct{}
	// wake is set when a writer that waits should look again.
	wake notify.Flag

	// The fields below are guarded by pair.mu.

	// over is why nothing can be written any more. done means that the other end also has all that was written before.
	over error
	done bool
	// held is what Write has taken although the other end has no room for it, as QUIC holds up to a packet. It follows
	// what was written.
	held []byte
	// room is how many more bytes the other end takes. written counts those it took, and reliable is what written was at
	// the last MarkReliable.
	room              int
	written, reliable int
	deadline          time.Time
}

func newStream(c *Conn, id uint64) *stream {
	s := &stream{conn: c, id: id}
	s.ctx, s.cancel = context.WithCancelCause(c.ctx)
	s.turn, s.wake, s.room = make(chan struct{}, 1), notify.NewFlag(), c.other.end.StreamWindow
	s.arrived = notify.NewFlag()
	return s
}

// ID implements carrier.Stream.
func (s *stream) ID() uint64 { return s.id }

// TryWrite implements carrier.Sender.
func (s *stream) TryWrite(b []byte) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	default:
		return carrier.ErrWouldBlock
	}
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	switch {
	case s.over != nil:
		return s.over
	case len(s.held)+len(b) > min(s.room, s.conn.window):
		return carrier.ErrWouldBlock
	}
	s.pushLocked()
	s.deliverLocked(b)
	return nil
}

// packet is how many bytes Write may leave for later.
const packet = 1200

// Write implements carrier.Sender.
func (s *stream) Write(b []byte) (n int, err error) {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	for {
		s.conn.mu.Lock()
		if s.over != nil {
			defer s.conn.mu.Unlock()
			return n, s.over
		}
		if passed(s.deadline) {
			s.conn.mu.Unlock()
			return n, os.ErrDeadlineExceeded
		}
		s.pushLocked()
		if len(s.held) == 0 {
			m := min(len(b)-n, s.room, s.conn.window)
			s.deliverLocked(b[n : n+m])
			n += m
		}
		if len(s.held)+len(b)-n <= packet {
			s.holdLocked(b[n:])
			s.conn.mu.Unlock()
			return len(b), nil
		}
		more, deadline := s.conn.more.C(), s.deadline
		s.conn.mu.Unlock()
		wait(s.wake, more, deadline)
	}
}

func passed(deadline time.Time) bool { return !deadline.IsZero() && !time.Now().Before(deadline) }

// wait waits for a signal, or until deadline unless it is zero.
func wait(flag notify.Flag, more <-chan struct{}, deadline time.Time) {
	var late <-chan time.Time
	if !deadline.IsZero() {
		t := time.NewTimer(time.Until(deadline))
		defer t.Stop()
		late = t.C
	}
	select {
	case <-flag:
	case <-more:
	case <-late:
	}
}

// holdLocked keeps b until the other end makes room.
func (s *stream) holdLocked(b []byte) {
	if len(b) > 0 {
		s.held = append(s.held, b...)
		s.conn.holding[s] = struct{}{}
	}
}

// pushLocked delivers what is held, as far as there is room, and the end that follows it.
func (s *stream) pushLocked() {
	n := min(len(s.held), s.room, s.conn.window)
	s.deliverLocked(s.held[:n])
	if s.held = s.held[n:]; len(s.held) > 0 {
		return
	}
	delete(s.conn.holding, s)
	if s.over == carrier.ErrFinished && !s.done { //nolint:errorlint // Finish has set it
		s.other.ends = io.EOF
		s.doneLocked()
		s.arriveLocked()
	}
}

// deliverLocked puts b, for which there is room, into the hands of the other end.
func (s *stream) deliverLocked(b []byte) {
	if len(b) == 0 {
		return
	}
	s.room -= len(b)
	s.conn.window -= len(b)
	s.written += len(b)
	s.other.unread = append(s.other.unread, b...)
	s.arriveLocked()
}

// arriveLocked notes that something of the stream has reached the other end.
func (s *stream) arriveLocked() {
	c := s.conn
	c.stats.Sent++
	c.stats.Received++
	c.other.stats.Sent++
	c.other.stats.Received++
	switch {
	case !s.oneWay && !s.accepted:
		c.tellLocked(s)
	case s.oneWay && !s.accepted && !s.told:
		s.told = true
		c.other.uni.putLocked(s.other)
	}
	s.other.arrived.Set()
}

// SetWriteDeadline implements carrier.Sender.
func (s *stream) SetWriteDeadline(t time.Time) error {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	s.deadline = t
	s.wake.Set()
	return nil
}

// MarkReliable implements carrier.Sender.
func (s *stream) MarkReliable() {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	s.reliable = s.written + len(s.held)
}

// CancelWrite implements carrier.Sender. A reset that promises more than the other end has room for ends the connection.
func (s *stream) CancelWrite(code wire.Code) {
	s.conn.mu.Lock()
	beyond := s.over == nil && s.reliable > s.written
	s.cancelWriteLocked(code)
	s.conn.mu.Unlock()
	if beyond {
		s.conn.End(&carrier.EndError{End: carrier.EndFailed, Remote: true}, &carrier.EndError{End: carrier.EndViolated})
	}
}

func (s *stream) cancelWriteLocked(code wire.Code) {
	if s.over != nil {
		return
	}
	t := s.other
	if kept := max(s.reliable-t.read, 0); kept < len(t.unread) {
		t.dropLocked(len(t.unread) - kept)
	}
	t.ends = &carrier.ResetError{Code: code, Remote: true}
	s.stopLocked(&carrier.ResetError{Code: code})
	s.arriveLocked()
}

// Finish implements carrier.Sender.
func (s *stream) Finish() {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if s.over != nil {
		return
	}
	s.over = carrier.ErrFinished
	s.cancel(s.over)
	s.pushLocked()
}

// stopLocked ends the direction to the other end.
func (s *stream) stopLocked(why error) {
	if s.over != nil {
		// Whatever Finish has left to follow is not read any more.
		s.doneLocked()
		return
	}
	s.over = why
	s.wake.Set()
	s.cancel(why)
	s.doneLocked()
}

// doneLocked notes that nothing more goes to the other end.
func (s *stream) doneLocked() {
	s.done, s.held = true, nil
	delete(s.conn.holding, s)
	s.creditLocked()
	s.other.creditLocked()
}

// Context implements carrier.Sender.
func (s *stream) Context() context.Context { return s.ctx }

// Cause implements carrier.Sender.
func (s *stream) Cause() error { return context.Cause(s.ctx) }

// failLocked ends both directions with the connection.
func (s *stream) failLocked(why error) {
	if s.failed == nil {
		s.failed = why
	}
	if s.over == nil {
		s.over = why
	}
	s.done, s.held = true, nil
	s.cancel(why)
	s.wake.Set()
	s.arrived.Set()
}
