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

// Unfinished is a task that a queue was closed with.
type Unfinished struct {
	ID       string
	Key      string
	Payload  []byte // as the node's codec encoded it
	Attempts int    // failed attempts
	Begun    bool   // a worker may be at it, or have done it
	Kept     bool   // it is on disk, and goes on when the queue is opened again
	MayBe    bool   // it may be on disk, and goes on then: its push failed with ErrMayRun, or the disk failed while it was spilled
}

// Drain takes no more tasks and waits until those that were accepted have ended, or
// ctx has; then it closes the queue and returns what is unfinished, oldest first. Of
// a queue in memory these tasks end as [Returned]: it is for the caller to push them
// elsewhere, unless the queue may [Spill] them. Those of a durable one stay on disk. The
// error is that with which a durable queue is frozen, or why tasks were not spilled, else
// nil: what ctx cut short is told by the list.
func (q *Queue) Drain(ctx context.Context) ([]Unfinished, error) {
	q.mu.Lock()
	q.isClosed = true
	q.tasks.Close()
	for over := false; q.tasks.Len() > 0 && q.failed == nil && ctx.Err() == nil && !over; {
		if q.changed == nil {
			q.changed = make(chan struct{})
		}
		changed := q.changed
		q.unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		case <-q.done: // the node was closed
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

// Close is [Queue.Drain] that does not wait.
func (q *Queue) Close() ([]Unfinished, error) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return q.Drain(ctx)
}

// shut has the queue take no more tasks.
func (q *Queue) shut() {
	q.mu.Lock()
	q.isClosed = true
	q.tasks.Close()
	q.unlock()
}

// finish ends what the queue still has, when nothing of it runs.
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

// unfinishedLocked lists tasks, of which the first ones are kept on disk.
func (q *Queue) unfinishedLocked(tasks []*queue.Task, onDisk int) []Unfinished {
	var out []Unfinished
	for i, t := range tasks {
		kept := i < onDisk
		body, _ := frame.ParseBody(t.Body) // it is ours
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

// tellLeft logs what a queue was closed with.
func (q *Queue) tellLeft(left []Unfinished) {
	if len(left) == 0 {
		return
	}
	begun, kept := 0, 0
	for i := range left {
		begun += step(left[i].Begun)
		kept += step(left[i].Kept)
	}
	log := q.node.Logger().With("stage", q.name, "tasks", len(left), "begun", begun, "kept", kept)
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
	q.changedLocked()
	q.unlock()
	q.cancelAll()
	for _, e := range open {
		e.refuse(err)
	}
}

// Err returns why a durable queue is frozen, nil if it is not: its disk failed, so
// that it can neither accept tasks nor say that they are done. What was accepted is
// on disk and goes on when the queue is opened again, on a disk that works.
func (q *Queue) Err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.failed
}

// Drain drains all queues of a node, those that [Push] and its like use included, as
// [Queue.Drain] does, at the same time. [link.Node.Run] and [link.Node.Shutdown] do so by
// themselves: it is for a program that wants the list of what is unfinished.
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
