package transport

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link/internal/wire"
)

// Stream carries the frames of one pattern both ways. Frames with
// [wire.FlagCredited] use credit that their receiver granted. One goroutine at
// a time may send and one may receive; Grant may be called by any.
type Stream struct {
	Session *Session
	Route   any              // accepted streams: Route.Value
	Headers wire.HeadersView // accepted streams: of the opener; owned by the stream

	stream     *quic.Stream
	fr         frameReader
	maxMessage int

	writeMu turnstile // guards frames, closed and the order of what is written
	frames  []byte
	closed  bool // END is sent
	out     *sendSide
	untold  atomic.Bool // there is something unsaid

	mu       sync.Mutex // guards the fields below
	credit   wire.Credit
	credited chan struct{} // closed when there is credit for one who waits; nil: nobody does
	wanted   wire.Credit   // the least that those who wait for it need
	granted  wire.Credit   // what the peer may still send
	unsaid   wire.Credit   // what it has not been told of that
	reserved uint64        // bytes of credit for which there is room
	queue    []Frame
	pending  int           // bytes of uncredited frames in queue
	plain    int           // uncredited frames in queue
	unread   int           // bytes of credited frames in queue, which count as credit still
	arrived  chan struct{} // holds a token when queue or end changed
	status   *wire.Status  // the peer's, once it arrived
	end      error         // why there are no more frames; io.EOF after a clean end
	noMore   bool          // the peer has sent END: only CREDIT and STATUS may follow
	refused  bool          // it was reset because the peer asked for too much or broke the rules; the reader's, until it has ended
	answered bool          // the peer has sent a frame: where we opened the stream, a handler runs
	settled  bool          // the queue does not count in shares.bytes any more
	finished bool          // our STATUS is about to be written, or is
	onEnd    func()
	tellEnd  sync.Once // runs onEnd
}

// Frame is one frame of a pattern. Its receiver owns Body.
type Frame struct {
	Kind  wire.Kind
	Flags wire.Flags
	Body  []byte
}

func (s *Session) newStream(stream *quic.Stream, out *sendSide) *Stream {
	return &Stream{
		Session: s, stream: stream, maxMessage: s.endpoint.limits.MaxMessage,
		out: out, arrived: make(chan struct{}, 1), writeMu: make(turnstile, 1),
	}
}

// noteEnd runs what OnEnd was given, once, and returns when it has run. The reader calls
// it, and so does everyone who is about to report the end, which they may find before the
// reader comes to it: what ends with the stream has ended for those who know of the end.
// It must not be called with mu held.
func (st *Stream) noteEnd() {
	st.mu.Lock()
	onEnd := st.onEnd
	st.mu.Unlock()
	if onEnd != nil {
		st.tellEnd.Do(onEnd)
	}
}

func (st *Stream) wake() {
	select {
	case st.arrived <- struct{}{}:
	default:
	}
}

// frameCost is what a frame takes in the queue beside its body.
const frameCost = 64

// Status returns the peer's STATUS, or nil if none has arrived.
func (st *Stream) Status() *wire.Status {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.status
}

// End returns why no more frames come: io.EOF after the peer's clean end, nil
// while they may come.
func (st *Stream) End() error {
	st.mu.Lock()
	end, over := st.endLocked(), st.end != nil
	st.mu.Unlock()
	if over {
		st.noteEnd()
	}
	return end
}

// endLocked is the end for those who receive. Where we opened the stream, a STATUS
// follows END.
func (st *Stream) endLocked() error {
	if st.end == nil && st.noMore && !st.Session.dialed {
		return io.EOF
	}
	return st.end
}

// owedLocked is how many bytes the peer may still send by credit, or has sent so that
// nobody has received.
func (st *Stream) owedLocked() uint64 {
	owed := st.granted.Bytes
	if !st.settled {
		owed += uint64(st.unread)
	}
	return owed
}

// returnLocked gives room back when less than half of it is owed. Who reads and grants what
// was read, a part at a time, keeps its room: what was granted once can be granted again.
func (st *Stream) returnLocked() {
	if owed := st.owedLocked(); owed <= st.reserved/2 && st.reserved > 0 {
		st.Session.unreserve(st.reserved, owed)
		st.reserved = owed
	}
}

// CloseSend says that our side sends no more frames: the peer's Recv returns io.EOF
// behind those it has sent. Grant goes on to work, because the end is a frame of its
// own; the FIN of the stream waits until the peer's side has ended.
func (st *Stream) CloseSend() error {
	st.writeMu.Lock()
	again := st.closed
	st.closed = true
	st.unlock()
	if again {
		return nil
	}
	err := st.write(context.Background(), wire.AppendEnd)
	if isAllRead(err) {
		return nil // the peer has ended the stream, and reads nothing else
	}
	return err
}

// Finish ends an accepted stream with a status. What the peer still sends is
// discarded.
func (st *Stream) finish(status *wire.Status) {
	st.mu.Lock()
	st.finished = true
	st.mu.Unlock()
	if st.write(context.Background(), func(b []byte) []byte { return wire.AppendStatus(b, status, wire.FlagLast) }) != nil {
		st.out.reset(wire.CodeCanceled) // the peer is gone, or took no STATUS in time
		return
	}
	st.writeMu.Lock()
	_ = st.stream.Close() // fails only if the peer is gone
	st.unlock()
	st.stream.CancelRead(quic.StreamErrorCode(wire.CodeNone))
}

// Finish ends an accepted stream with a status; ServeStream calls it before it
// returns. It waits for the peer to take the status for a second at most.
func (st *Stream) Finish(status *wire.Status) {
	_ = st.stream.SetWriteDeadline(time.Now().Add(writeGrace)) // has no error to return
	st.finish(status)
}

// Cancel resets both directions at once.
func (st *Stream) Cancel(code wire.Code) {
	st.out.reset(code)
}

// Canceled returns a context that ends when the peer stops reading or the
// connection ends.
func (st *Stream) Canceled() context.Context { return st.stream.Context() }

// Draining returns a channel that is closed when either side drains.
func (st *Stream) Draining() <-chan struct{} {
	if st.Session.dialed {
		return st.Session.draining
	}
	return st.Session.endpoint.drainDone
}

// Quiet returns a channel that is closed, on the side that serves, when the node drains
// and nothing runs on it but streams of lasting routes: those end now. On the other side
// it is Draining.
func (st *Stream) Quiet() <-chan struct{} {
	if st.Session.dialed {
		return st.Session.draining
	}
	return st.Session.endpoint.quiet
}

// OnEnd runs f once the peer's side has ended, at once if it has, and before Recv, Await,
// End or a Send that waits for credit report that end. It is called at most once per
// stream, before those; f must not call them.
func (st *Stream) OnEnd(f func()) {
	st.mu.Lock()
	if st.end == nil {
		st.onEnd = f
		f = nil
	}
	st.mu.Unlock()
	if f != nil {
		f()
	}
}
