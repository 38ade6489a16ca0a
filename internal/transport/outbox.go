package transport

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/wire"
)

// outbox gathers the small writes of a session and hands them to the carrier one right
// after the other. Each write wakes the goroutine that makes packets, which then runs
// before any other and finds one message: with 256 calls in flight a packet held 2.7
// messages where it had room for 12. The first write of a batch yields to all goroutines
// that can run, and their writes join the batch. gRPC-Go's writer yields for the same
// reason.
//
// While nobody else writes, only about one write in outboxProbe yields.
type outbox struct {
	session *Session

	// direct is how many of the next writes do not wait for others.
	direct atomic.Int32

	mu    sync.Mutex // guards the fields below
	queue []queuedWrite
	// bytes holds the bytes of the queued writes, one after the other.
	bytes []byte
	// led means that a goroutine is about to flush.
	led bool

	// writing is held during a flush and locked before mu. It guards the fields below.
	writing sync.Mutex
	// alone is the value that direct was last set to.
	alone int32
	// spareQueue and spareBytes are the arrays of queue and bytes of the last flush.
	spareQueue []queuedWrite
	spareBytes []byte
}

type queuedWrite struct {
	writer *callWriter
	size   int
}

const (
	// outboxBytes is how many bytes an outbox gathers: a writer that exceeds it flushes.
	// It is 45 packets, more than QUIC sends at once.
	outboxBytes = 64 << 10
	// outboxKeep is the largest buffer, in bytes, that an outbox keeps.
	outboxKeep = 16 << 10
	// outboxProbe is the most writes in a row that do not yield. Their number grows to it
	// while yielding is in vain. Yielding can wake a thread, which costs more than a write,
	// so less than one call in a hundred should yield.
	outboxProbe = 255
	// outboxPatience is how long yielding may take without consequence. If it takes
	// longer, and longer than outboxPace for each write that it gathered, handlers use up
	// the processors, and from then on replies do not wait for them. A call that does
	// nothing takes a tenth of outboxPace.
	outboxPatience = time.Millisecond
	outboxPace     = 100 * time.Microsecond
)

// callWriter writes the requests or the replies of one stream, the small ones through the
// outbox. One goroutine at a time may use it. It must call settle before it uses the
// sending side directly, or ends it.
type callWriter struct {
	sendSide

	box *outbox
	// serving means that it writes replies, for which a drain waits.
	serving bool

	// queued counts the queued writes, and written those of them that were written.
	queued uint64
	// deadline is the deadline of the last queued write.
	deadline time.Time
	written  atomic.Uint64

	// err is why a write failed. waiting is closed when the write that has to wait for the
	// peer has ended; it is nil if there is none. Both are guarded by box.writing.
	err     error
	waiting chan struct{}
}

func newCallWriter(box *outbox, stream carrier.Stream, serving bool) callWriter {
	return callWriter{sendSide: newSendSide(stream), box: box, serving: serving}
}

// queue queues a copy of b, or writes b at once. settle returns the error of a queued write
// that fails, which also ends the reading side of the stream. A queued write may wait until
// deadline for the peer to make room, see setDeadline. The error is [carrier.ErrWouldBlock] if
// b is not queued and there is no room for it.
func (w *callWriter) queue(b []byte, deadline time.Time) error {
	if err := w.settle(); err != nil {
		return err
	}
	o := w.box
	if o.direct.Load() > 0 && o.direct.Add(-1) >= 0 {
		// This is tryWrite, on the stack of every call.
		err := w.stream.TryWrite(b)
		if err == nil && w.loose {
			w.fasten()
		}
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

// writeNow writes b after all queued writes. The error is [carrier.ErrWouldBlock] if there is
// no room for it.
func (w *callWriter) writeNow(b []byte) error {
	if err := w.settle(); err != nil {
		return err
	}
	return w.tryWrite(b)
}

// settle waits until all queued writes have ended, and returns the error of one that failed.
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

// lead lets others write, then flushes. A drain does not miss queued replies: the call whose
// reply leads counts as running until all of them have been written.
func (o *outbox) lead() {
	start := time.Now()
	runtime.Gosched()
	took := time.Since(start)
	o.adapt(o.flush(), took)
}

// adapt sets how many of the next writes do not yield, after a write yielded for took and
// then flushed n writes.
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

// flush performs the queued writes and returns how many there were.
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

// attempt writes b. No write before it failed, because queue would have returned the error.
// The caller holds box.writing.
func (w *callWriter) attempt(b []byte) {
	err := w.tryWrite(b)
	if errors.Is(err, carrier.ErrWouldBlock) {
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
	w.stream.CancelRead(wire.CodeCanceled)
}

// await writes b in a goroutine of its own once the peer has made room for it. A stream has
// one such write at a time: the next one waits in settle. The caller holds box.writing.
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
// call has passed or is near: a peer that does not read must not hold a handler.
const writeGrace = time.Second

// setDeadline sets when a write that waits for the peer gives up: at deadline, or
// writeGrace from now if that is later. If deadline is zero, the write waits until the
// stream ends.
func (w *callWriter) setDeadline(deadline time.Time) error {
	if deadline.IsZero() {
		return nil
	}
	if least := time.Now().Add(writeGrace); deadline.Before(least) {
		deadline = least
	}
	return w.stream.SetWriteDeadline(deadline)
}
