package transport

import (
	"context"
	"errors"
	"sync"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link/internal/wire"
)

const (
	// oneWrite is the most that is queued without waiting for the transport: it
	// fits a packet beside its headers.
	oneWrite = 1200
	// bulkWrites is how many large messages are written to one connection at once;
	// others wait their turn. A connection sends no faster with more, but each one
	// holds buffers on both sides until its last byte is there.
	bulkWrites = 4
	// writeBacklog is how many bytes of small replies or frames a stream may queue
	// before one waits for those before it to leave: a peer that asks for more and more
	// but acknowledges nothing must not fill our memory with them.
	writeBacklog = 16 << 10
)

// sendSide is the sending side of a stream. One goroutine at a time may write; any may
// reset it.
type sendSide struct {
	stream *quic.Stream

	mu sync.Mutex // guards the fields below, which their writer may read without it
	// loose means that quic-go may hold bytes that the peer has no room for yet. A
	// reset must not promise to deliver those: they would count against the peer's
	// limits, which ends the connection.
	loose bool
	cut   bool // what was written may end inside a frame

	backlog int // bytes of small writes since one waited; mayQueue's alone
}

// mayQueue reports whether n bytes may be written without waiting for those
// before them. If not, they must be written by write, which waits. One goroutine at a
// time may call it.
func (s *sendSide) mayQueue(n int) bool {
	if s.backlog += n; n <= oneWrite && s.backlog <= writeBacklog {
		return true
	}
	s.backlog = 0
	return false
}

// kindIgnored is a kind of frame that nobody knows, see [wire.IsGrease]: who receives one
// passes over it.
const kindIgnored wire.Kind = 0x9d

// tryWrite queues b, all of it, if there is room for it. If not, the error is
// [quic.ErrWouldBlock].
func (s *sendSide) tryWrite(b []byte) error {
	err := s.stream.TryWriteAll(b) // takes up room for what was left over too
	if err == nil && s.loose {
		s.mu.Lock()
		s.loose = false
		s.mu.Unlock()
	}
	return err
}

// write waits until the transport has taken b, which is a whole number of frames.
func (s *sendSide) write(b []byte) error {
	s.mu.Lock()
	if !s.loose {
		s.stream.SetReliableBoundary() // there is room for what was before
	}
	s.loose, s.cut = true, true
	s.mu.Unlock()
	_, err := s.stream.Write(b)
	if err == nil {
		s.mu.Lock()
		s.cut = false
		s.mu.Unlock()
	}
	return err
}

// writeAll writes b without blocking if it is small and there is room for it.
func (s *sendSide) writeAll(b []byte) error {
	if len(b) <= oneWrite {
		err := s.tryWrite(b)
		if !errors.Is(err, quic.ErrWouldBlock) {
			return err
		}
	}
	return s.write(b)
}

// writeBulk writes a large message when it is its turn on the session, which it waits
// for until the stream ends.
func (s *sendSide) writeBulk(on *Session, b []byte) error {
	select {
	case on.bulk <- struct{}{}:
	case <-s.stream.Context().Done():
		return context.Cause(s.stream.Context())
	}
	defer func() { <-on.bulk }()
	return s.write(b)
}

// reset ends both directions. What was written before, a STATUS say, still arrives if
// the peer had room for it.
func (s *sendSide) reset(code wire.Code) {
	s.mu.Lock()
	// Writing one more frame takes up room for what was left over, if there is any.
	if !s.loose || !s.cut && s.stream.TryWriteAll(wire.AppendFrameHeader(nil, wire.FrameHeader{Kind: kindIgnored})) == nil {
		s.stream.SetReliableBoundary()
	}
	s.mu.Unlock()
	s.stream.CancelWrite(quic.StreamErrorCode(code))
	s.stream.CancelRead(quic.StreamErrorCode(code))
}
