package pipeline

import (
	"context"
	"errors"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/internal/lane"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// workerLink is a queue's link to one worker.
type workerLink struct {
	queue *Queue
	id    string
	// vanished is set while the topology does not list the worker.
	vanished atomic.Bool
	// place belongs to the goroutine of attend.
	place lane.Place

	// worker is nil while there is no stream. The queue's lock guards it.
	worker *queue.Worker
}

// show notes whether the topology lists the worker. A worker that is no longer listed
// finishes its tasks, and then its stream ends. The queue's lock is held.
func (l *workerLink) show(there bool) {
	if l.vanished.Swap(!there) != there {
		return
	}
	if l.worker == nil {
		l.giveUp()
		return
	}
	if there {
		l.queue.tasks.Stay(l.worker, l.queue.clock.now().UnixNano())
	} else {
		l.queue.tasks.Leave(l.worker)
	}
}

// giveUp takes back the tasks of a worker that is not connected and that the topology no
// longer lists, since it will not come back. The queue's lock is held.
func (l *workerLink) giveUp() {
	if l.vanished.Load() {
		l.queue.tasks.GiveUp(l.id, "the connection to the worker was lost, and it is not found any more", l.queue.clock.now().UnixNano())
	}
}

// over reports whether the topology no longer lists the worker. If so, it removes the link:
// a worker that comes back gets a new one.
func (l *workerLink) over() bool {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	if !l.vanished.Load() {
		return false
	}
	delete(l.queue.links, l.id)
	return true
}

// Bounds of the backoff before the queue reconnects to a lost worker. The transport has its
// own, longer backoff between dials.
const (
	rejoinLeast = 50 * time.Millisecond
	rejoinMost  = 5 * time.Second
)

// attend keeps a stream to the worker until ctx ends or the topology no longer lists it.
func (l *workerLink) attend(ctx context.Context) {
	defer l.queue.taken(l.id)
	if s := l.queue.store; s != nil {
		select {
		case <-s.numbered:
		case <-ctx.Done():
			return
		}
	}
	for failures := 0; ctx.Err() == nil; {
		began := time.Now()
		err := l.work(ctx)
		if ctx.Err() != nil || l.over() {
			return
		}
		if failures++; time.Since(began) > rejoinMost {
			failures = 1
		}
		pause := rejoinPause(failures)
		if err != nil && final(err) {
			// Retry slowly: the worker may accept the queue later.
			pause = rejoinPause(rejoinSlow)
			if l.awaited() {
				pause = rejoinPause(rejoinAsk)
			}
			l.queue.tellRefused(l.id, err)
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

const (
	// rejoinSlow is the number of failures after which the pause is the longest.
	rejoinSlow = 8
	// rejoinAsk is the number of failures whose pause fits several times into the grace of a worker
	// that has ended its stream, so that it can report in time what it holds and what has not arrived.
	rejoinAsk = 6
)

// awaited reports whether the worker is disconnected and may come back with its tasks.
func (l *workerLink) awaited() bool {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	return l.queue.tasks.Awaited(l.id)
}

// rejoinPause returns the backoff after a number of consecutive failures. It doubles each time,
// up to rejoinMost, and up to half of it is jitter, so that queues that lost a worker at the same
// time do not all reconnect at the same time.
func rejoinPause(failures int) time.Duration {
	most := min(rejoinLeast<<min(failures-1, rejoinSlow), rejoinMost)
	return most/2 + rand.N(most/2) //nolint:gosec // a draw of lots, not a secret
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
	if err := l.place.Check(st, q.workers()); err != nil {
		q.takeBack(l.id)
		return err
	}
	q.mu.Lock()
	ask := frame.Hello{Queue: q.id, Fence: q.fence, Held: q.tasks.Held(l.id)}
	ask.First, ask.Last = q.tasks.Asks()
	q.mu.Unlock()
	self := st.Peer()
	own := l.id == q.node.Instance() && isOwn(q.node, self)
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
		if err := q.store.introduce(ctx, l.id); err != nil {
			return err
		}
	}
	q.mu.Lock()
	if q.store != nil {
		q.store.meetLocked(l.id)
	}
	now := q.clock.now().UnixNano()
	w := q.tasks.Join(l.id, queue.Welcome{
		Epoch: welcome.Epoch, Slots: min(welcome.Slots, queue.MaxWindow), Asked: ask.Held, Unknown: welcome.Unknown, Running: welcome.Running,
	}, now)
	ready := w.Ready()
	l.worker, q.told = w, false
	if l.vanished.Load() {
		q.tasks.Leave(w)
	}
	q.unlock()
	c := &connection{link: l, queue: q, worker: w, ready: ready, stream: st, credit: credit, most: lane.FrameFor(uint64(creditOf(st))), pongs: make(chan []byte, 1)}
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
		q.takeBackLocked(l.id)
	}
	l.giveUp()
	q.noteUnservedLocked()
	q.unlock()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// workers yields the instances that the queue has links to: those that the topology lists, and
// earlier ones whose links still exist.
func (q *Queue) workers() iter.Seq[string] {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Values(slices.Collect(maps.Keys(q.links)))
}

// takeBack takes back the tasks of a worker whose process is gone.
func (q *Queue) takeBack(worker string) {
	q.mu.Lock()
	q.takeBackLocked(worker)
	q.unlock()
}

func (q *Queue) takeBackLocked(worker string) {
	q.tasks.GiveUp(worker, "the process of the worker is gone", q.clock.now().UnixNano())
}
