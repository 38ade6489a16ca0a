package pipeline

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/internal/fleet"
	"github.com/linkmesh/link/protocol/internal/flow"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// workerLink is a queue's link to one worker.
type workerLink struct {
	fleet.Life

	queue *Queue
	// worker is nil while there is no stream. The queue's lock guards it.
	worker *queue.Worker
}

func (q *Queue) linkTo(id string) *workerLink {
	return &workerLink{Life: fleet.Life{ID: id, Service: q.route.Service}, queue: q}
}

// lock is the queue's lock, as its fleet takes it.
type lock struct{ queue *Queue }

func (l lock) Lock() { l.queue.mu.Lock() }

// Unlock wakes those who wait for a task, because a worker that vanishes or returns may have moved it.
func (l lock) Unlock() { l.queue.unlock() }

// attendance is how the queue keeps a stream to each worker.
func (q *Queue) attendance() fleet.Config[*workerLink] {
	return fleet.Config[*workerLink]{
		Lock: lock{q}, Attend: q.attend, Judge: q.judge, Vanish: q.vanish, Return: q.reappear,
		End: func(l *workerLink, _ fleet.End) { q.taken(l.ID) },
	}
}

// vanish notes that the topology no longer lists a worker, which then finishes its tasks before its
// stream ends. It returns false for the own worker of a node that drains, which first does the node's
// own tasks. The lock is held.
func (q *Queue) vanish(l *workerLink) bool {
	switch {
	case l.ID == q.node.Instance() && !q.node.Status().Serving:
		return false
	case l.worker == nil:
		l.giveUp()
	default:
		q.tasks.Leave(l.worker)
	}
	return true
}

// reappear notes that the topology lists a worker again. The lock is held.
func (q *Queue) reappear(l *workerLink) {
	if l.worker != nil {
		q.tasks.Stay(l.worker, q.clock.now().UnixNano())
	}
}

// giveUp takes back the tasks of a worker that is not connected and that the topology no
// longer lists, since it will not come back. The queue's lock is held.
func (l *workerLink) giveUp() {
	l.queue.tasks.GiveUp(l.ID, queue.CauseUnlisted, l.queue.clock.now().UnixNano())
}

// attend opens one stream to a worker and runs it until it ends.
func (q *Queue) attend(ctx context.Context, l *workerLink) error {
	if q.store != nil {
		select {
		case <-q.store.numbered:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return l.work(ctx)
}

// rejoinAsk is the pause before a worker is asked again that has tasks of the queue and does not take
// it. It fits several times into the grace of a worker that has ended its stream, so that the worker
// can report in time what it holds and what has not arrived.
const rejoinAsk = 1600 * time.Millisecond

// judge decides when the next stream to a worker follows one that has ended.
func (q *Queue) judge(l *workerLink, err error, _ int) fleet.Verdict {
	pauses := fleet.Rejoin()
	if err != nil && final(err) {
		// Retry slowly: the worker may accept the queue later.
		pauses.Least = pauses.Most
		if l.awaited() {
			pauses.Least, pauses.Most = rejoinAsk, rejoinAsk
		}
		q.tellRefused(l.ID, err)
	}
	return fleet.Verdict{Pauses: pauses}
}

// awaited reports whether the worker is disconnected and may come back with its tasks.
func (l *workerLink) awaited() bool {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	return l.queue.tasks.Awaited(l.ID)
}

// final reports whether an error is one that a quick retry does not fix.
func final(err error) bool {
	switch link.CodeOf(err) { //nolint:exhaustive // the others pass
	case link.PermissionDenied, link.InvalidArgument, link.Unimplemented, link.ResourceExhausted, link.Aborted:
		return true
	}
	return false
}

// work opens one stream to the worker and runs it until it ends.
func (l *workerLink) work(ctx context.Context) error {
	q := l.queue
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	st, credit, leave, err := l.open(ctx)
	if err != nil {
		return err
	}
	defer leave()
	defer st.Close()
	if err := q.workers.Check(l, st); err != nil {
		q.takeBack(l.ID)
		return err
	}
	q.mu.Lock()
	ask := frame.Hello{Queue: q.id, Fence: q.fence, Held: q.tasks.Held(l.ID)}
	ask.First, ask.Last = q.tasks.Asks()
	q.mu.Unlock()
	self := st.Peer()
	own := l.ID == q.node.Instance() && isOwn(q.node, self)
	if own {
		sight := &systemOf(q.node).sight
		sight.begin(ask.Queue)
		defer sight.end(ask.Queue, nil)
	}
	hello, err := frame.Encode(frame.KindHello, ask)
	if err == nil {
		err = st.Send(hello)
	}
	if err != nil {
		return err
	}
	first, err := st.Recv()
	if err != nil {
		return err
	}
	var welcome frame.Welcome
	if err := frame.Decode(first, frame.KindWelcome, &welcome); err != nil {
		return err
	}
	if own {
		systemOf(q.node).sight.end(ask.Queue, &self)
	}
	if q.store != nil {
		if err := q.store.introduce(ctx, l.ID); err != nil {
			return err
		}
	}
	q.mu.Lock()
	if q.store != nil {
		q.store.meetLocked(l.ID)
	}
	now := q.clock.now().UnixNano()
	w := q.tasks.Join(l.ID, queue.Welcome{
		Epoch: welcome.Epoch, Slots: min(welcome.Slots, queue.MaxWindow), Asked: ask.Held, Unknown: welcome.Unknown, Running: welcome.Running,
	}, now)
	ready := w.Ready()
	l.worker, q.told = w, false
	if l.Vanished() {
		q.tasks.Leave(w)
	}
	q.unlock()
	c := &connection{link: l, queue: q, worker: w, ready: ready, stream: st, credit: credit, most: flow.FrameFor(uint64(creditOf(st))), pongs: make(chan []byte, 1)}
	c.heard.Store(now)
	ended := make(chan error, 1)
	go func() {
		ended <- c.read()
		cancel()
	}()
	err = c.write(ctx)
	st.Close()
	if got := <-ended; got != nil && !errors.Is(err, errSlow) {
		// The reader knows why the stream ended, the writer only that it did.
		err = got
	}
	q.mu.Lock()
	l.worker = nil
	now = q.clock.now().UnixNano()
	q.tasks.Disconnect(w, errors.Is(err, io.EOF), c.heard.Load(), now)
	if errors.Is(err, link.ErrProcessGone) {
		q.takeBackLocked(l.ID)
	}
	if l.Vanished() {
		l.giveUp()
	}
	q.noteUnservedLocked()
	q.unlock()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// takeBack takes back the tasks of a worker whose process is gone.
func (q *Queue) takeBack(worker string) {
	q.mu.Lock()
	q.takeBackLocked(worker)
	q.unlock()
}

func (q *Queue) takeBackLocked(worker string) {
	q.tasks.GiveUp(worker, queue.CauseGone, q.clock.now().UnixNano())
}
