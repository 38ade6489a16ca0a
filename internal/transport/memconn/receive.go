package memconn

import (
	"os"
	"time"

	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/wire"
)

// receiving is the direction from the other end.
type receiving struct {
	// arrived is set when a reader that waits should look again.
	arrived notify.Flag

	// The fields below are guarded by pair.mu.

	// unread holds what has arrived, behind read bytes that were read.
	unread []byte
	read   int
	// ends is what follows the bytes in unread: io.EOF or the reset of the other end. It is nil while more may come.
	ends error
	// failed is why nothing can be read any more, whatever has arrived.
	failed error
	// seen means that nothing more is to be read, and that the reader knows.
	seen  bool
	until time.Time
}

// Read implements carrier.Receiver.
func (s *stream) Read(b []byte) (int, error) {
	for {
		s.conn.mu.Lock()
		switch {
		case s.failed != nil:
			defer s.conn.mu.Unlock()
			return 0, s.failed
		case passed(s.until):
			s.conn.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case len(s.unread) > 0:
			defer s.conn.mu.Unlock()
			return s.takeLocked(b), nil
		case s.ends != nil:
			defer s.conn.mu.Unlock()
			s.seen = true
			s.creditLocked()
			return 0, s.ends
		}
		until := s.until
		s.conn.mu.Unlock()
		wait(s.arrived, nil, until)
	}
}

// takeLocked moves bytes to a reader, and lets the other end send as many.
func (s *stream) takeLocked(b []byte) int {
	n := copy(b, s.unread)
	s.read += n
	if s.unread = s.unread[n:]; len(s.unread) == 0 {
		s.unread = nil
	}
	s.returnLocked(n)
	return n
}

// dropLocked forgets the last n bytes that have arrived.
func (s *stream) dropLocked(n int) {
	s.unread = s.unread[:len(s.unread)-n]
	s.returnLocked(n)
}

// returnLocked gives the other end room for n bytes.
func (s *stream) returnLocked(n int) {
	c := s.other.conn
	s.other.room += n
	c.window += n
	for held := range c.holding {
		held.pushLocked()
	}
	s.other.wake.Set()
	c.more.All()
}

// SetReadDeadline implements carrier.Receiver.
func (s *stream) SetReadDeadline(t time.Time) error {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	s.until = t
	s.arrived.Set()
	return nil
}

// CancelRead implements carrier.Receiver.
func (s *stream) CancelRead(code wire.Code) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if s.failed != nil || s.seen {
		return
	}
	s.failed, s.seen = &carrier.ResetError{Code: code}, true
	s.dropLocked(len(s.unread))
	s.arrived.Set()
	s.other.stopLocked(&carrier.ResetError{Code: code, Remote: true})
	s.creditLocked()
	s.arriveLocked()
}

// ReleaseCredit implements carrier.Receiver.
func (s *stream) ReleaseCredit() {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	s.released = true
	s.creditLocked()
}

// creditLocked forgets the stream if both directions are over, and lets the end that opened it open another, once this end
// has released the credit.
func (s *stream) creditLocked() {
	if !s.done || !s.seen {
		return
	}
	delete(s.conn.streams, s)
	if !s.accepted || s.oneWay || s.returned || !s.released && !s.conn.end.Releases {
		return
	}
	s.returned = true
	c := s.conn.other
	c.allowed++
	c.offerLocked()
}
