package pipeline

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/internal/lane"
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
	credit int // bytes that the worker may have on its way
	most   int // bytes of a frame to it
	pongs  chan []byte
	heard  atomic.Int64 // when the worker was heard of last

	buf              []byte   // for what is sent next
	rest             []byte   // what is left of a task that goes in parts
	small            [16]byte // for frames of numbers
	recalls, cancels []uint64
	told             int       // what the worker believes of the backlog
	toldAt           time.Time // when
	timer            *time.Timer
}

// write sends tasks and orders until ctx ends.
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

// errSlow ends a stream on which the rest of a task would be sent in vain.
var errSlow = link.Errorf(link.Aborted, "the worker has taken the parts of a task too slowly for %v", queue.MaxSending)

// turn sends what there is: a frame of tasks and, of a task that goes in parts, one part after it, as
// nothing else is to wait for all of them. It reports whether there may be more, and whether
// the worker is to have nothing more at all.
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
	body, n := q.tasks.Take(c.worker, c.buf[:0], c.most, now.UnixNano()) // none that goes in parts beside another one
	c.recalls, c.cancels = q.tasks.TakeOrders(c.worker, c.recalls[:0], c.cancels[:0])
	if last {
		q.tasks.Sent(c.worker, now.UnixNano())
	}
	pending, oldest := q.tasks.Backlog(now.UnixNano())
	over = c.link.vanished.Load() && c.worker.Holds() == 0
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
	if len(c.rest) > 0 { // it has not come yet, and needs its place there when it does
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

// tasks sends n tasks, or keeps one that is too long for a frame to send it in parts. One that no
// worker would take is a dead letter; why it was not sent says nothing about that, as the worker
// may have ended the stream for reasons of its own.
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
	if _, err := rec.Cut(body); err != nil { // it is ours
		return err
	}
	q := c.queue
	q.mu.Lock()
	defer q.unlock()
	err := link.Errorf(link.ResourceExhausted, "it has %d bytes with what is sent beside it, and a worker takes %d", len(body), maxTasks)
	q.tasks.Fail(c.worker, rec.Seq, err.Error(), q.clock.now().UnixNano())
	return nil
}

// counted notes that tasks are sent: the worker takes one off the backlog for each.
func (c *connection) counted(n int) { c.told = max(c.told-n, 0) }

func (c *connection) pong(b []byte) error {
	return c.stream.Send(link.Frame{Kind: frame.KindPong, Body: b})
}

// tell reports the backlog to the worker: at once when there is one again, and else
// when it has changed and the last report is a while ago.
func (c *connection) tell(pending int, oldest time.Duration, now time.Time) error {
	if pending == c.told {
		return nil
	}
	if wait := c.toldAt.Add(backlogEvery).Sub(now); wait > 0 && (c.told > 0 || pending == 0) {
		c.timer.Reset(wait)
		return nil
	}
	c.told, c.toldAt = pending, now
	b := frame.AppendUint(frame.AppendUint(c.small[:0], uint64(pending)), uint64(oldest.Microseconds()))
	if pending > 0 {
		c.timer.Reset(backlogEvery)
	}
	return c.stream.Send(link.Frame{Kind: frame.KindBacklog, Body: b})
}

// read takes what the worker sends, until the stream ends.
func (c *connection) read() error {
	flow := lane.Flow{Stream: c.stream, Credit: c.credit}
	room := lane.PartsOf(c.queue.node).Of(c.stream.Peer())
	defer room.Release()
	joiner := lane.Joiner{Most: maxTasks, Room: room}
	defer joiner.Drop()
	for {
		f, err := c.stream.Recv()
		if err != nil {
			if final(err) { // a word of the worker, which lives
				c.heard.Store(c.queue.clock.now().UnixNano())
			}
			return err
		}
		c.heard.Store(c.queue.clock.now().UnixNano())
		if err := flow.Read(f); err != nil {
			return err
		}
		if f.Kind == frame.KindPart {
			if err := joiner.Part(f.Body); err != nil {
				return err
			}
			continue
		}
		if f.Kind == frame.KindOutcomes { // others, of a later version as well, may come between the parts
			f.Body = joiner.Whole(f.Body)
		}
		if err := c.take(f); err != nil {
			return link.Errorf(link.InvalidArgument, "frame of kind %#x: %w", uint8(f.Kind), err)
		}
	}
}

func (c *connection) take(f link.Frame) error {
	q := c.queue
	switch f.Kind { //nolint:exhaustive // the others are the producer's, or of a later version
	case frame.KindOutcomes:
		q.mu.Lock()
		err := q.tasks.Apply(c.worker, f.Body, q.clock.now().UnixNano())
		q.takenLocked(c.link.id)
		q.unlock()
		return err
	case frame.KindWindow:
		tasks, rest, ok := frame.CutUint(f.Body)
		bytes, _, also := frame.CutUint(rest)
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
		default: // the last one has not been answered
		}
	case frame.KindLeaving:
		q.mu.Lock()
		q.tasks.Leave(c.worker)
		q.unlock()
	default: // a later version sent it
	}
	return nil
}
