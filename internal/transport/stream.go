package transport

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/wire"
)

// Stream carries the frames of one pattern both ways. Frames with
// [wire.FlagCredited] use credit that their receiver granted. One goroutine at
// a time may send and one may receive; any goroutine may call Grant.
type Stream struct {
	Session *Session
	// Route is Route.Value, and Headers are those of the opener. Only accepted streams have
	// them. The stream owns Headers.
	Route   any
	Headers wire.HeadersView

	stream     carrier.Stream
	fr         frameReader
	maxMessage int
	out        *sendSide
	writing    writing

	mu     sync.Mutex // guards the fields below
	credit sendCredit
	grant  grant
	inbox  inbox
	ending ending
}

// writing is what goes out on a stream.
type writing struct {
	// mu guards frames, closed and the order of what is written.
	mu     turnstile
	frames []byte
	// closed means that END is sent.
	closed bool
	// untold means that there is credit in grant.unsaid.
	untold atomic.Bool
}

// sendCredit is what the peer has granted.
type sendCredit struct {
	left wire.Credit
	// more wakes those who wait for credit when there may be some for one of them.
	more notify.Broadcast
	// wanted is the least credit that a waiter needs, or allCredit if nobody waits.
	wanted wire.Credit
}

// grant is what the peer was granted.
type grant struct {
	// left is what the peer may still send, and unsaid the part that it has not been told of.
	left   wire.Credit
	unsaid wire.Credit
	// reserved is how many bytes of credit there is room for.
	reserved uint64
}

// inbox holds the frames that wait for Recv, or passes them on.
type inbox struct {
	queue []Frame
	// delivers means that [Stream.Deliver] was called. When it has passed on what was in queue, take takes the
	// frames in place of queue, and ended is called when no more come. reported means that ended was called, or
	// is about to be.
	delivers bool
	take     func(f Frame)
	ended    func()
	reported bool
	// pending counts the bytes of uncredited frames in queue, and plain the frames.
	pending int
	plain   int
	// unread counts the bytes of credited frames that still count as credit: those in queue, or those
	// that take has got and that were not granted again.
	unread int
	// arrived is set when queue or ending has changed.
	arrived notify.Flag
	// settled means that the queue no longer counts in shares.bytes.
	settled bool
}

// ending is how a stream ends.
type ending struct {
	// status is the peer's STATUS, once it has arrived.
	status *wire.Status
	// why is why there are no more frames: io.EOF after a clean end.
	why error
	// noMore means that the peer has sent END: only CREDIT and STATUS may follow.
	noMore bool
	// refused means that the stream was reset because the peer asked for too much or broke the
	// rules. Only the reader uses it until the reader has ended.
	refused bool
	// answered means that the peer has sent a frame: if we opened the stream, a handler runs.
	answered bool
	// finished means that our STATUS is about to be written, or is written.
	finished bool
	onEnd    func()
	// told runs onEnd.
	told sync.Once
}

// Frame is one frame of a pattern. Its receiver owns Body.
type Frame struct {
	Kind  wire.Kind
	Flags wire.Flags
	Body  []byte
}

func (s *Session) newStream(stream carrier.Stream, out *sendSide) *Stream {
	return &Stream{
		Session: s, stream: stream, maxMessage: s.endpoint.limits.MaxMessage,
		out:     out,
		writing: writing{mu: make(turnstile, 1)},
		credit:  sendCredit{wanted: allCredit()},
		inbox:   inbox{arrived: notify.NewFlag()},
	}
}

// noteEnd runs the function that OnEnd was given, once, and returns when it has run. The
// reader calls it, and so does every goroutine that is about to report the end, because it
// may find the end before the reader calls noteEnd: the function must have run before anybody
// learns of the end. mu must not be held.
func (st *Stream) noteEnd() {
	st.mu.Lock()
	onEnd := st.ending.onEnd
	st.mu.Unlock()
	if onEnd != nil {
		st.ending.told.Do(onEnd)
	}
}

// frameCost is how many bytes a frame takes in the queue in addition to its body.
const frameCost = 64

// Status returns the peer's STATUS, or nil if none has arrived.
func (st *Stream) Status() *wire.Status {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.ending.status
}

// End returns why no more frames come: io.EOF after the peer's clean end. It
// returns nil while frames may come.
func (st *Stream) End() error {
	st.mu.Lock()
	end, over := st.endLocked(), st.ending.why != nil
	st.mu.Unlock()
	if over {
		st.noteEnd()
	}
	return end
}

// endLocked returns the end as a receiver sees it. If we opened the stream, END is not the
// end, because a STATUS follows.
func (st *Stream) endLocked() error {
	if st.ending.why == nil && st.ending.noMore && !st.Session.dialed {
		return io.EOF
	}
	return st.ending.why
}

// owedLocked returns how many bytes of credited frames the peer may still send, or has sent
// and nobody has received.
func (st *Stream) owedLocked() uint64 {
	owed := st.grant.left.Bytes
	if !st.inbox.settled {
		owed += uint64(st.inbox.unread)
	}
	return owed
}

// returnLocked gives room back when at most half of it is owed. A receiver that grants again
// what it has read, a part at a time, keeps its room and can always grant it again.
func (st *Stream) returnLocked() {
	if owed := st.owedLocked(); owed <= st.grant.reserved/2 && st.grant.reserved > 0 {
		st.Session.unreserve(st.grant.reserved, owed)
		st.grant.reserved = owed
	}
}

// CloseSend announces that our side sends no more frames: the peer's Recv returns io.EOF
// after those already sent. Grant still works, because the end is a frame of its own; the
// FIN of the stream waits until the peer's side has ended.
func (st *Stream) CloseSend() error {
	st.writing.mu.Lock()
	again := st.writing.closed
	st.writing.closed = true
	st.unlock()
	if again {
		return nil
	}
	err := st.write(context.Background(), wire.AppendEnd)
	// The peer may have ended the stream and reads nothing more.
	if isAllRead(err) {
		return nil
	}
	return err
}

// finish ends an accepted stream with a status. Frames that the peer still sends are
// discarded.
func (st *Stream) finish(status *wire.Status) {
	st.mu.Lock()
	st.ending.finished = true
	st.mu.Unlock()
	if st.write(context.Background(), func(b []byte) []byte { return wire.AppendStatus(b, status, wire.FlagLast) }) != nil {
		// The peer is gone, or did not take the STATUS in time.
		st.out.reset(wire.CodeCanceled)
		return
	}
	st.writing.mu.Lock()
	st.stream.Finish()
	st.unlock()
	st.stream.CancelRead(wire.CodeNone)
}

// Finish ends an accepted stream with a status; ServeStream calls it before it
// returns. It waits for at most a second for the peer to take the status.
func (st *Stream) Finish(status *wire.Status) {
	_ = st.stream.SetWriteDeadline(time.Now().Add(writeGrace))
	st.finish(status)
}

// Cancel resets both directions at once.
func (st *Stream) Cancel(code wire.Code) {
	st.out.reset(code)
}

// Canceled returns a context that ends when the peer stops reading or the
// connection ends.
func (st *Stream) Canceled() context.Context { return st.out.ctx }

// Draining returns a channel that is closed when either side drains.
func (st *Stream) Draining() <-chan struct{} {
	if st.Session.dialed {
		return st.Session.goodbye.said
	}
	return st.Session.endpoint.drain.started
}

// Quiet returns a channel that is closed, on the serving side, when the node drains and only
// streams of lasting routes still run, which then end. On the other side it returns the same
// channel as Draining.
func (st *Stream) Quiet() <-chan struct{} {
	if st.Session.dialed {
		return st.Session.goodbye.said
	}
	return st.Session.endpoint.drain.quiet
}

// OnEnd runs f once the peer's side has ended, or at once if it already has. f runs before
// Recv, Await, End or a Send that waits for credit reports the end, and must not call them.
// OnEnd may be called at most once per stream, before any of them.
func (st *Stream) OnEnd(f func()) {
	st.mu.Lock()
	if st.ending.why == nil {
		st.ending.onEnd = f
		f = nil
	}
	st.mu.Unlock()
	if f != nil {
		f()
	}
}
