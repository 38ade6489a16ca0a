package pipeline

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// Unfinished is a task that had not ended when its queue was closed.
type Unfinished struct {
	ID  string
	Key string
	// Payload is the task as the node's codec encoded it.
	Payload []byte
	// Attempts counts the failed attempts.
	Attempts int
	// Begun reports whether a worker may be running the task, or may have done it.
	Begun bool
	// Kept reports whether the task is on disk. It continues when the queue is opened again.
	Kept bool
	// MayBe reports whether the task may be on disk, in which case it continues like a kept one.
	// Its push failed with ErrMayRun, or the disk failed while it was spilled.
	MayBe bool
}

// Drain stops accepting tasks and waits until the accepted ones have ended or ctx ends.
// It then closes the queue and returns the unfinished tasks, oldest first. Those of a
// queue in memory end as [EndReturned], and the caller must push them elsewhere unless the
// queue may [Spill] them. Those of a durable queue stay on disk. The error says why a
// durable queue is frozen or could not be closed, or why tasks were not spilled. The end
// of ctx is not an error: the list shows what was cut short.
func (q *Queue) Drain(ctx context.Context) ([]Unfinished, error) {
	q.mu.Lock()
	q.isClosed = true
	q.tasks.Close()
	for over := false; q.tasks.Len() > 0 && q.failed == nil && ctx.Err() == nil && !over; {
		changed := q.changed.C()
		q.unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		case <-q.done:
			// The node was closed.
			over = true
		}
		q.mu.Lock()
	}
	q.unlock()
	q.cancelAll()
	<-q.done
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.left, q.err
}

// Close is like [Queue.Drain] but does not wait for tasks to end.
func (q *Queue) Close() ([]Unfinished, error) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return q.Drain(ctx)
}

// shut makes the queue accept no more tasks.
func (q *Queue) shut() {
	q.mu.Lock()
	q.isClosed = true
	q.tasks.Close()
	q.unlock()
}

// finish ends the remaining tasks, once none of the queue's goroutines but the caller run.
func (q *Queue) finish() error {
	systemOf(q.node).remove(q)
	q.shut()
	q.mu.Lock()
	if q.store == nil {
		left := q.tasks.Return(q.clock.now().UnixNano())
		q.unlock()
		var kept, mayBe int
		var err error
		if q.set.spill != "" {
			kept, mayBe, err = q.spill(left)
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		q.left, q.err = q.unfinishedLocked(left, kept), err
		for i := range q.left[kept : kept+mayBe] {
			q.left[kept+i].MayBe = true
		}
		q.tellLeft(q.left)
		return err
	}
	q.unlock()
	err := q.store.log.Close()
	q.mu.Lock()
	open := slices.Clone(q.store.untold)
	for t := range q.tasks.All {
		open = append(open, t)
	}
	slices.SortFunc(open, func(a, b *queue.Task) int { return cmp.Compare(a.Seq, b.Seq) })
	q.left = q.unfinishedLocked(open, len(open))
	if q.err = q.failed; q.err == nil && err != nil {
		q.err = link.Errorf(link.DataLoss, "closing the queue of %s: %w", q.route, err)
	}
	err = q.err
	q.tellLeft(q.left)
	q.mu.Unlock()
	for _, t := range open {
		if e, ok := t.Owner.(*entry); ok {
			e.keep(link.Errorf(link.Unavailable, "task %s of %s has not ended: its queue was closed, and goes on when it is opened again", taskID(q.id, t.Seq), q.route))
		}
	}
	return err
}

// unfinishedLocked lists tasks. The first onDisk of them are on disk.
func (q *Queue) unfinishedLocked(tasks []*queue.Task, onDisk int) []Unfinished {
	var out []Unfinished
	for i, t := range tasks {
		kept := i < onDisk
		// The queue encoded the body itself, so it parses.
		body, _ := frame.ParseBody(t.Body)
		out = append(out, Unfinished{
			ID: taskID(q.id, t.Seq), Key: t.Key, Payload: slices.Clone(body.Payload), Attempts: t.Attempts,
			Begun: t.Began(), Kept: kept,
		})
		if e, ok := t.Owner.(*entry); ok && kept && errors.Is(e.failed(), ErrMayRun) {
			last := &out[len(out)-1]
			last.Kept, last.MayBe = false, true
		}
	}
	return out
}

// tellLeft logs the unfinished tasks that a queue was closed with.
func (q *Queue) tellLeft(left []Unfinished) {
	if len(left) == 0 {
		return
	}
	begun, kept := 0, 0
	for i := range left {
		begun += step(left[i].Begun)
		kept += step(left[i].Kept)
	}
	log := link.HostOf(q.node).Logger().With("stage", q.name, "tasks", len(left), "begun", begun, "kept", kept)
	switch {
	case kept == len(left):
		log.Info("pipeline: a queue was closed with tasks that have not ended; they are on disk, and go on when it is opened again")
	case q.failed != nil:
		log.Error("pipeline: a queue was closed whose disk failed; tasks that had not ended are done again when it is opened, those that were on disk", "error", q.failed)
	default:
		log.Warn("pipeline: a queue in memory was closed with tasks that have not ended; they are returned undone, and lost unless the program pushes them again. See Durable and Spill")
	}
}

func step(is bool) int {
	if is {
		return 1
	}
	return 0
}

// freeze stops a queue whose disk has failed.
func (q *Queue) freeze(err error) {
	q.mu.Lock()
	if q.failed == nil {
		q.failed = err
	}
	q.isClosed = true
	q.tasks.Close()
	var open []*entry
	for t := range q.tasks.All {
		if e, ok := t.Owner.(*entry); ok {
			open = append(open, e)
		}
	}
	q.changed.All()
	q.unlock()
	q.cancelAll()
	for _, e := range open {
		e.refuse(err)
	}
}

// Err returns why a durable queue is frozen, or nil if it is not. A queue freezes when its
// disk fails: it can then neither accept tasks nor report that they are done. Accepted tasks
// are on disk and continue when the queue is opened again, on a disk that works.
func (q *Queue) Err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.failed
}

// Drain drains all queues of a node concurrently, as [Queue.Drain] does, including those that
// [Push] and similar functions use. [link.Node.Run] and [link.Node.Shutdown] do so by
// themselves; Drain is for programs that want the list of unfinished tasks.
func Drain(ctx context.Context, node *link.Node) ([]Unfinished, error) {
	queues := systemOf(node).all()
	left, errs := make([][]Unfinished, len(queues)), make([]error, len(queues))
	var wg sync.WaitGroup
	for i, q := range queues {
		wg.Go(func() { left[i], errs[i] = q.Drain(ctx) })
	}
	wg.Wait()
	return slices.Concat(left...), errors.Join(errs...)
}
