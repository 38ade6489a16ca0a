package transport

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link/internal/wire"
)

// outbox gathers the small writes of a session and hands them to quic-go one right
// behind the other. Each write wakes the goroutine that makes packets, which then runs
// before any other and finds one message: with 256 calls under way a packet held 2.7
// messages where it had room for 12. The first of a batch yields to all that can run,
// and what those write in the meantime rides with it; gRPC-Go's writer yields for the
// same reason.
//
// Where nobody else writes, nobody yields but one in outboxProbe.
type outbox struct {
	session *Session

	direct atomic.Int32 // writes from here on that do not wait for others

	mu    sync.Mutex // guards the fields below
	queue []queuedWrite
	bytes []byte // the bytes of the queue, one write after the other
	led   bool   // a goroutine is about to flush

	writing sync.Mutex // held by whoever flushes; guards the fields below, and is locked before mu
	alone   int32      // what direct was set to last
	// The arrays of queue and bytes of the last flush.
	spareQueue []queuedWrite
	spareBytes []byte
}

type queuedWrite struct {
	writer *callWriter
	size   int
}

const (
	// outboxBytes is how much an outbox gathers: who finds more there flushes it. It is
	// 45 packets, more than quic-go sends at once.
	outboxBytes = 64 << 10
	// outboxKeep is how large a buffer an outbox keeps.
	outboxKeep = 16 << 10
	// outboxProbe is how many writes follow each other at once after more and more
	// have waited for others in vain. Yielding can wake a thread, which costs more than a
	// write, so less than one call in a hundred should.
	outboxProbe = 255
	// outboxPatience is how long a goroutine that yields may be kept waiting without
	// consequence. Where it takes longer, and longer than outboxPace for each write that
	// it gathered, handlers use up the processors, and replies do not wait for those
	// from then on. A call that does nothing takes a tenth of outboxPace.
	outboxPatience = time.Millisecond
	outboxPace     = 100 * time.Microsecond
)

// callWriter writes the requests or the replies of one stream, the small ones by way of
// the outbox. One goroutine at a time may use it. Before it uses the sending side itself,
// or ends it, settle must have been called.
type callWriter struct {
	sendSide

	box     *outbox
	serving bool // it writes replies; a drain waits for them

	queued   uint64
	deadline time.Time     // the deadline of what was queued last
	written  atomic.Uint64 // how many of queued were written

	err     error         // why a write failed; guarded by box.writing
	waiting chan struct{} // closed when the write that has to wait for the peer has ended; guarded by box.writing
}

func newCallWriter(box *outbox, stream *quic.Stream, serving bool) callWriter {
	return callWriter{sendSide: sendSide{stream: stream}, box: box, serving: serving}
}

// queue queues b, which it copies, or writes it at once. What becomes of a queued write
// settle says; one that fails also ends the reading side of the stream. It may wait for
// the peer to make room until deadline, see setDeadline. The error is
// [quic.ErrWouldBlock] if b is not queued and there is no room for it.
func (w *callWriter) queue(b []byte, deadline time.Time) error {
	o := w.box
	if o.direct.Load() > 0 && o.direct.Add(-1) >= 0 {
		return w.writeNow(b)
	}
	if err := w.settle(); err != nil {
		return err
	}
	w.queued++
	w.deadline = deadline
	o.mu.Lock()
	o.queue = append(o.queue, queuedWrite{w, len(b)})
	o.bytes = append(o.bytes, b...)
	follows, full := o.led, len(o.bytes) > outboxBytes
	o.led = true
	o.mu.Unlock()
	switch {
	case full:
		o.flush()
	case !follows:
		o.lead()
	}
	return nil
}

// writeNow writes b behind what was queued. The error is [quic.ErrWouldBlock] if there is
// no room for it.
func (w *callWriter) writeNow(b []byte) error {
	if err := w.settle(); err != nil {
		return err
	}
	return w.tryWrite(b)
}

// settle returns when everything that was queued has been written, or the error of what
// could not be.
func (w *callWriter) settle() error {
	if w.written.Load() == w.queued {
		return nil
	}
	w.box.flush()
	w.box.writing.Lock()
	waiting := w.waiting
	w.box.writing.Unlock()
	if waiting != nil {
		<-waiting
	}
	w.box.writing.Lock()
	defer w.box.writing.Unlock()
	return w.err
}

// lead lets others write, then flushes. A drain does not miss replies that wait: the call
// whose reply leads counts until all of them have been written, by whomever.
func (o *outbox) lead() {
	start := time.Now()
	runtime.Gosched()
	took := time.Since(start)
	o.adapt(o.flush(), took)
}

// adapt sets how many writes go at once, after one that yielded for so long and then
// flushed n.
func (o *outbox) adapt(n int, took time.Duration) {
	o.writing.Lock()
	defer o.writing.Unlock()
	switch {
	case took > outboxPatience && took > time.Duration(n)*outboxPace:
		o.alone = outboxProbe
	case n == 1:
		o.alone = min(2*o.alone+1, outboxProbe)
	default:
		o.alone = 0
	}
	o.direct.Store(o.alone)
}

// flush writes what is queued and returns how many writes that were.
func (o *outbox) flush() int {
	o.writing.Lock()
	defer o.writing.Unlock()
	o.mu.Lock()
	queue, b := o.queue, o.bytes
	o.queue, o.bytes = o.spareQueue, o.spareBytes
	o.led = false
	o.mu.Unlock()
	n := len(queue)
	if o.spareQueue, o.spareBytes = queue[:0], b[:0]; cap(b) > outboxKeep {
		o.spareQueue, o.spareBytes = nil, nil
	}
	for _, q := range queue {
		q.writer.attempt(b[:q.size])
		b = b[q.size:]
	}
	clear(queue)
	return n
}

// attempt writes b. No write before it failed: queue would have said so. The caller
// holds box.writing.
func (w *callWriter) attempt(b []byte) {
	err := w.tryWrite(b)
	if errors.Is(err, quic.ErrWouldBlock) {
		w.await(bytes.Clone(b))
		return
	}
	w.done(err)
}

// done notes how a write ended. The caller holds box.writing.
func (w *callWriter) done(err error) {
	if err == nil {
		w.written.Add(1)
		return
	}
	w.err = err
	w.stream.CancelRead(quic.StreamErrorCode(wire.CodeCanceled))
}

// await writes b once the peer has made room for it, which nobody else waits for. A
// stream has one such write at a time: the next one waits in settle. The caller holds
// box.writing.
func (w *callWriter) await(b []byte) {
	s, waiting := w.box.session, make(chan struct{})
	if w.serving {
		s.stay()
	}
	run := func(context.Context) {
		err := w.setDeadline(w.deadline)
		if err == nil {
			err = w.write(b)
		}
		w.box.writing.Lock()
		w.done(err)
		w.waiting = nil
		w.box.writing.Unlock()
		close(waiting)
		if w.serving {
			s.left()
		}
	}
	if w.waiting = waiting; !s.group.Go(run) {
		w.waiting = nil
		w.done(ErrClosed)
		if w.serving {
			s.left()
		}
	}
}

// writeGrace is how long a reply may take to be queued when the deadline of its
// call is over or near: a peer that does not read must not hold a handler.
const writeGrace = time.Second

// setDeadline sets when a write gives up that waits for the peer: at deadline, or
// writeGrace from now if that is later. If deadline is zero the write ends with the stream.
func (w *callWriter) setDeadline(deadline time.Time) error {
	if deadline.IsZero() {
		return nil
	}
	if least := time.Now().Add(writeGrace); deadline.Before(least) {
		deadline = least
	}
	return w.stream.SetWriteDeadline(deadline)
}
