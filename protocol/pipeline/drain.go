package pipeline

import (
	"context"
	"errors"

	"github.com/linkmesh/link"
)

// begin is the first step of draining the node. Its workers take no more tasks from producers
// of other nodes, and begin waits until these have the outcomes of the tasks that had begun.
// Tasks that handlers push meanwhile are done later, by [system.drain], for which the node's
// own workers keep working.
func (s *system) begin(ctx context.Context) error {
	workers := s.allWorkers()
	for _, w := range workers {
		w.drain(false)
	}
	for _, w := range workers {
		w.awaitOthers(ctx)
	}
	// If time ran out, the node cancels the running handlers and reports it.
	return nil
}

// drain is the second step, when only handlers of the node's own tasks still run. As far as
// time allows, it waits until the node's queues have done all their tasks, including those
// that these tasks push to other queues of the node. Then it closes the queues. The error
// says that tasks are lost, or how the disk failed.
func (s *system) drain(ctx context.Context) error {
	s.finishTasks(ctx)
	left, err := Drain(ctx, s.node)
	for _, w := range s.allWorkers() {
		w.drain(true)
	}
	lost := 0
	for i := range left {
		lost += step(!left[i].Kept && !left[i].MayBe)
	}
	if lost > 0 {
		err = errors.Join(err, link.Errorf(link.DeadlineExceeded,
			"%d tasks in memory had not ended when the time for the drain was over; they are lost with the process: see pipeline.Durable, pipeline.Spill and Config.Limits.DrainTimeout", lost))
	}
	return err
}

// finishTasks waits until no queue of the node has a task, or ctx ends. Meanwhile the queues
// accept only what handlers of tasks push.
func (s *system) finishTasks(ctx context.Context) {
	before, idle := uint64(0), false
	for {
		accepted, busy := uint64(0), (*Queue)(nil)
		var changed <-chan struct{}
		for _, q := range s.all() {
			n, c := q.turnAway()
			accepted += n
			if c != nil {
				busy, changed = q, c
			}
		}
		switch {
		case busy != nil:
			idle = false
			select {
			case <-changed:
			case <-busy.done:
			case <-ctx.Done():
				return
			}
		case idle && accepted == before:
			// Two passes in a row found no task, so none was moving between two queues.
			return
		default:
			idle, before = true, accepted
		}
	}
}

// turnAway makes the queue accept only what handlers of tasks push. It returns how many tasks
// the queue has accepted, and a channel that is closed when some have ended, or nil if there
// are none to wait for.
func (q *Queue) turnAway() (accepted uint64, changed <-chan struct{}) {
	q.mu.Lock()
	q.finishing = true
	waiting := q.full
	q.full = nil
	accepted = q.accepted
	if q.tasks.Len() > 0 && q.failed == nil && !q.isClosed {
		changed = q.changed.C()
		q.callHomeLocked()
	}
	q.mu.Unlock()
	// Pushes that wait for room look at the queue again.
	for _, c := range waiting {
		c <- struct{}{}
	}
	return accepted, changed
}

// drain gives back the tasks that have not begun and takes no new ones. The node's own queues
// are exempt unless all is true.
func (w *Worker) drain(all bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pool.Drain(all, w.clock.now().UnixNano())
}

// isOwn reports whether a peer claims to be the node itself.
func isOwn(node *link.Node, peer link.Peer) bool {
	return peer.Instance == node.Instance() && peer.Identity == node.Identity()
}

// arrive counts a stream from a producer of another node; part undoes it when the stream ends.
func (w *Worker) arrive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.others++
}

func (w *Worker) part() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.others--
	w.parted.All()
}

// awaitOthers waits until no producer of another node has a stream, or ctx ends.
func (w *Worker) awaitOthers(ctx context.Context) {
	for {
		w.mu.Lock()
		if w.others == 0 {
			w.mu.Unlock()
			return
		}
		parted := w.parted.C()
		w.mu.Unlock()
		select {
		case <-parted:
		case <-ctx.Done():
			return
		}
	}
}
