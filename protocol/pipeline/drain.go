package pipeline

import (
	"context"
	"errors"

	"github.com/linkmesh/link"
)

// begin is the first step of a drain of the node: its workers take nothing more of the
// producers of others, and it waits until these have the outcomes of what had begun. What
// handlers push meanwhile is done after that, by [system.drain], for which the node's own
// workers still work.
func (s *system) begin(ctx context.Context) error {
	workers := s.allWorkers()
	for _, w := range workers {
		w.drain(false)
	}
	for _, w := range workers {
		w.awaitOthers(ctx)
	}
	return nil // if time was too short, the node cancels what runs, and says so
}

// drain is the second step, when no handler runs any more but those of the node's own tasks:
// what was pushed is done, as far as there is time, and what comes of it in other queues of
// the node; then the queues are closed. The error is that tasks are lost, or what the disk
// did.
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
			"%d tasks in memory had not ended when the time for the drain was over; they are lost with the process: see pipeline.Durable, pipeline.Spill and Config.DrainTimeout", lost))
	}
	return err
}

// finishTasks waits until no queue of the node has a task, or ctx ends. They take only what
// the handlers of tasks push.
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
			return // in two looks, so that no task was between two queues
		default:
			idle, before = true, accepted
		}
	}
}

// turnAway has the queue take nothing more but what handlers of tasks push. It returns how
// many tasks the queue has accepted, and what is closed when some have ended; nil if there
// are none.
func (q *Queue) turnAway() (accepted uint64, changed <-chan struct{}) {
	q.mu.Lock()
	q.finishing = true
	waiting := q.full
	q.full = nil
	accepted = q.accepted
	if q.tasks.Len() > 0 && q.failed == nil && !q.isClosed {
		if q.changed == nil {
			q.changed = make(chan struct{})
		}
		changed = q.changed
		q.callHomeLocked()
	}
	q.mu.Unlock()
	for _, c := range waiting { // they look again
		c <- struct{}{}
	}
	return accepted, changed
}

// drain gives back what has not begun and takes nothing new, of the node's own queues only
// if all is true.
func (w *Worker) drain(all bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pool.Drain(all, w.clock.now().UnixNano())
}

// isOwn reports whether a peer is the node itself, as far as it says so.
func isOwn(node *link.Node, peer link.Peer) bool {
	return peer.Instance == node.Instance() && peer.Identity == node.Identity()
}

// arrive counts a stream of a producer of another node, and part its end.
func (w *Worker) arrive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.others++
}

func (w *Worker) part() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.others--
	if w.parted != nil {
		close(w.parted)
		w.parted = nil
	}
}

// awaitOthers waits until no producer of another node has a stream, or ctx ends.
func (w *Worker) awaitOthers(ctx context.Context) {
	for {
		w.mu.Lock()
		if w.others == 0 {
			w.mu.Unlock()
			return
		}
		if w.parted == nil {
			w.parted = make(chan struct{})
		}
		parted := w.parted
		w.mu.Unlock()
		select {
		case <-parted:
		case <-ctx.Done():
			return
		}
	}
}
