package pipeline

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/internal/flow"
	"github.com/linkmesh/link/protocol/internal/varint"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// connection is a queue's side of one stream.
type connection struct {
	link   *workerLink
	queue  *Queue
	worker *queue.Worker
	ready  <-chan struct{}
	stream stream
	// credit is how many bytes the worker may have in flight.
	credit int
	// most is how many bytes a frame to the worker may have.
	most  int
	pongs chan []byte
	// heard is when the worker was last heard from, in nanoseconds since 1970.
	heard atomic.Int64

	// buf is for the next frame of tasks, small for frames of numbers.
	buf []byte
	// rest is the unsent rest of a task that is sent in parts.
	rest             []byte
	small            [16]byte
	recalls, cancels []uint64
	// told is the backlog that the worker knows of; toldAt is when it was last sent.
	told   int
	toldAt time.Time
	timer  *time.Timer
}

// write sends tasks and orders until ctx ends, an error occurs or the worker is to get nothing more.
func (c *connection) write(ctx context.Context) error {
	c.buf = make([]byte, 0, c.most+c.most/16)
	c.timer = time.NewTimer(backlogEvery)
	defer c.timer.Stop()
	for {
		select {
		case <-c.ready:
		case b := <-c.pongs:
			if err := c.pong(b); err != nil {
				return err
			}
		case <-c.timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for more := true; more; {
			var over bool
			var err error
			if more, over, err = c.turn(); over || err != nil {
				return err
			}
		}
	}
}

// errSlow ends a stream on which a task is sent in parts that was given up meanwhile.
var errSlow = link.Errorf(link.Aborted, "the worker has taken the parts of a task too slowly for %v", queue.MaxSending)

// turn sends what is due: a frame of tasks, then one part of a task that is sent in parts, so that
// nothing else has to wait for all of its parts. It reports whether there may be more to send, and
// whether the worker is to get nothing more at all.
func (c *connection) turn() (more, over bool, err error) {
	q := c.queue
	parts := len(c.rest) > 0
	last := parts && len(c.rest) <= c.most
	q.mu.Lock()
	now := q.clock.now()
	if parts && !last && !q.tasks.Sending(c.worker, now.UnixNano()) {
		q.unlock()
		return false, false, errSlow
	}
	// Take returns no task that needs parts while another one is being sent in parts.
	body, n := q.tasks.Take(c.worker, c.buf[:0], c.most, now.UnixNano())
	c.recalls, c.cancels = q.tasks.TakeOrders(c.worker, c.recalls[:0], c.cancels[:0])
	if last {
		q.tasks.Sent(c.worker, now.UnixNano())
	}
	pending, oldest := q.tasks.Backlog(now.UnixNano())
	over = c.link.Vanished() && c.worker.Holds() == 0
	q.unlock()
	if over {
		return false, true, nil
	}
	if n > 0 {
		err = c.tasks(body, n)
	}
	if err == nil && parts {
		err = c.part(last)
	}
	if err == nil {
		err = sendList(c.stream, frame.KindRecall, c.recalls)
	}
	if err == nil {
		err = sendList(c.stream, frame.KindCancel, c.cancels)
	}
	if err != nil {
		return false, false, err
	}
	select {
	case b := <-c.pongs:
		if err := c.pong(b); err != nil {
			return false, false, err
		}
	default:
	}
	// A task that is still being sent in parts counts too: it needs room at the worker when it arrives.
	if len(c.rest) > 0 {
		pending++
	}
	return n > 0 || parts || len(c.rest) > 0, false, c.tell(pending, oldest, now)
}

// part sends the next part of a task, or the last.
func (c *connection) part(last bool) error {
	if last {
		body := c.rest
		c.rest = nil
		c.counted(1)
		return c.stream.Send(link.Frame{Kind: frame.KindTasks, Credited: true, Body: body})
	}
	body := c.rest[:c.most]
	c.rest = c.rest[c.most:]
	return c.stream.Send(link.Frame{Kind: frame.KindPart, Credited: true, Body: body})
}

// tasks sends n tasks, or keeps a task that is too long for a frame in c.rest, to send it in parts.
// A task that is too long for any worker becomes a dead letter here. An error of the stream could not
// tell, because the worker may end the stream for reasons of its own.
func (c *connection) tasks(body []byte, n int) error {
	if len(body) <= c.most {
		kind := frame.KindTasks
		if len(c.rest) > 0 {
			kind = frame.KindBeside
		}
		c.counted(n)
		c.buf = kept(body)
		return c.stream.Send(link.Frame{Kind: kind, Credited: true, Body: body})
	}
	c.buf = nil
	if len(body) <= maxTasks {
		c.rest = body
		return nil
	}
	var rec frame.Task
	if _, err := rec.Cut(body); err != nil {
		return err
	}
	q := c.queue
	q.mu.Lock()
	defer q.unlock()
	err := link.Errorf(link.ResourceExhausted, "it has %d bytes with what is sent beside it, and a worker takes %d", len(body), maxTasks)
	q.tasks.Fail(c.worker, rec.Seq, err.Error(), q.clock.now().UnixNano())
	return nil
}

// counted notes that n tasks are sent: the worker subtracts each of them from the backlog.
func (c *connection) counted(n int) { c.told = max(c.told-n, 0) }

func (c *connection) pong(b []byte) error {
	return c.stream.Send(link.Frame{Kind: frame.KindPong, Body: b})
}

// tell reports a changed backlog to the worker: at once when tasks wait again, and
// otherwise when backlogEvery has passed since the last report.
func (c *connection) tell(pending int, oldest time.Duration, now time.Time) error {
	if pending == c.told {
		return nil
	}
	if wait := c.toldAt.Add(backlogEvery).Sub(now); wait > 0 && (c.told > 0 || pending == 0) {
		c.timer.Reset(wait)
		return nil
	}
	c.told, c.toldAt = pending, now
	b := varint.Append(varint.Append(c.small[:0], uint64(pending)), uint64(oldest.Microseconds()))
	if pending > 0 {
		c.timer.Reset(backlogEvery)
	}
	return c.stream.Send(link.Frame{Kind: frame.KindBacklog, Body: b})
}

// read handles what the worker sends, until the stream ends.
func (c *connection) read() error {
	grants := flow.Credit{Stream: c.stream, Credit: c.credit}
	room := flow.PartsOf(c.queue.node).Of(c.stream.Peer())
	defer room.Release()
	joiner := flow.Joiner{Most: maxTasks, Room: room}
	defer joiner.Drop()
	for {
		f, err := c.stream.Recv()
		if err != nil {
			// The worker itself sent such an error, so it is alive.
			if final(err) {
				c.heard.Store(c.queue.clock.now().UnixNano())
			}
			return err
		}
		c.heard.Store(c.queue.clock.now().UnixNano())
		if err := grants.Read(f); err != nil {
			return err
		}
		if f.Kind == frame.KindPart {
			if err := joiner.Part(f.Body); err != nil {
				return err
			}
			continue
		}
		// Frames of other kinds, including those of later versions, may come between the parts.
		if f.Kind == frame.KindOutcomes {
			f.Body = joiner.Whole(f.Body)
		}
		if err := c.take(f); err != nil {
			return link.Errorf(link.InvalidArgument, "frame of kind %#x: %w", f.Kind, err)
		}
	}
}

func (c *connection) take(f link.Frame) error {
	q := c.queue
	switch f.Kind {
	case frame.KindOutcomes:
		q.mu.Lock()
		err := q.tasks.Apply(c.worker, f.Body, q.clock.now().UnixNano())
		q.takenLocked(c.link.ID)
		q.unlock()
		return err
	case frame.KindWindow:
		tasks, rest, ok := varint.Cut(f.Body)
		bytes, _, also := varint.Cut(rest)
		if !ok || !also {
			return frame.ErrMalformed
		}
		q.mu.Lock()
		q.tasks.Window(c.worker, tasks, bytes, q.clock.now().UnixNano())
		q.unlock()
	case frame.KindAlive:
		seqs, err := frame.ParseList(nil, f.Body)
		if err != nil {
			return err
		}
		q.mu.Lock()
		q.tasks.Vouch(c.worker, seqs, q.clock.now().UnixNano())
		q.unlock()
	case frame.KindPing:
		if len(f.Body) > 8 {
			return frame.ErrMalformed
		}
		select {
		case c.pongs <- f.Body:
		default:
			// The previous PING has not been answered yet.
		}
	case frame.KindLeaving:
		q.mu.Lock()
		q.tasks.Leave(c.worker)
		q.unlock()
	default:
		// Frames of later versions are skipped.
	}
	return nil
}
