package transport

import (
	"context"
	"errors"
	"sync"

	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/wire"
)

const (
	// oneWrite is the most bytes that are queued without waiting for the transport: they
	// fit a packet beside its headers.
	oneWrite = 1200
	// bulkWrites is how many large messages are written to one connection at once;
	// others wait their turn. A connection sends no faster with more, but each one
	// holds buffers on both sides until its last byte has arrived.
	bulkWrites = 4
	// writeBacklog is how many bytes of small replies or frames a stream may queue
	// before a write waits for earlier ones to leave: a peer that asks for more and more
	// but acknowledges nothing must not fill our memory with them.
	writeBacklog = 16 << 10
)

// sendSide is the sending side of a stream. One goroutine at a time may write; any may
// reset it.
type sendSide struct {
	stream carrier.Stream
	// ctx is that of the stream, kept because each call looks at it.
	ctx context.Context //nolint:containedctx // it ends with the sending side

	// mu guards loose and cut. The goroutine that writes may read them without it.
	mu sync.Mutex
	// loose means that the carrier may hold bytes that the peer has no room for yet. A
	// reset must not promise to deliver those: they would count against the peer's
	// limits, which ends the connection.
	loose bool
	// cut means that the bytes written may end inside a frame.
	cut bool

	// backlog counts the bytes of small writes since one waited. Only mayQueue uses it.
	backlog int
}

func newSendSide(stream carrier.Stream) sendSide {
	return sendSide{stream: stream, ctx: stream.Context()}
}

// mayQueue reports whether n bytes may be written without waiting for those
// before them. If not, the caller must use write, which waits. One goroutine at a
// time may call it.
func (s *sendSide) mayQueue(n int) bool {
	if s.backlog += n; n <= oneWrite && s.backlog <= writeBacklog {
		return true
	}
	s.backlog = 0
	return false
}

// kindIgnored is a kind of frame that has no meaning, see [wire.IsGrease]: receivers
// skip it.
const kindIgnored wire.Kind = 0x9d

// tryWrite queues all of b if there is room for it. If not, the error is
// [carrier.ErrWouldBlock].
func (s *sendSide) tryWrite(b []byte) error {
	err := s.stream.TryWrite(b)
	if err == nil && s.loose {
		s.fasten()
	}
	return err
}

// fasten notes that a TryWrite has succeeded: the peer has room for all earlier bytes, too.
func (s *sendSide) fasten() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loose = false
}

// write waits until the transport has taken b, which is a whole number of frames.
func (s *sendSide) write(b []byte) error {
	s.mu.Lock()
	// The peer has room for all earlier bytes unless loose is set.
	if !s.loose {
		s.stream.MarkReliable()
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

// writeAll writes b. It does not block if b is small and there is room for it.
func (s *sendSide) writeAll(b []byte) error {
	if len(b) <= oneWrite {
		err := s.tryWrite(b)
		if !errors.Is(err, carrier.ErrWouldBlock) {
			return err
		}
	}
	return s.write(b)
}

// writeBulk writes a large message. It first waits for its turn on the session, or until the
// stream ends.
func (s *sendSide) writeBulk(on *Session, b []byte) error {
	select {
	case on.bulk <- struct{}{}:
	case <-s.ctx.Done():
		return s.stream.Cause()
	}
	defer func() { <-on.bulk }()
	return s.write(b)
}

// reset ends both directions. Bytes that were written before, such as a STATUS, still arrive
// if the peer had room for them.
func (s *sendSide) reset(code wire.Code) {
	s.mu.Lock()
	// If one more frame can be written, the peer has room for all earlier bytes, too.
	if !s.loose || !s.cut && s.stream.TryWrite(wire.AppendFrameHeader(nil, wire.FrameHeader{Kind: kindIgnored})) == nil {
		s.stream.MarkReliable()
	}
	s.mu.Unlock()
	s.stream.CancelWrite(code)
	s.stream.CancelRead(code)
}
