package pipeline

import (
	"context"
	"crypto/rand"
	"errors"
	"runtime/debug"
	"sync"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/internal/trace"
	"github.com/linkmesh/link/protocol/internal/fleet"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// Queue holds the tasks of one producer for one stage and sends them to workers. A [Producer] has one.
type Queue struct {
	node  *link.Node
	route link.Route
	identity
	set    queueSettings
	clock  clock
	tracer *trace.Tracer
	span
	spares
	// store is nil in memory.
	store *store

	mu    sync.Mutex // guards the fields below
	tasks *queue.Queue
	// full are the pushes that wait for room, oldest first.
	full []chan struct{}
	// workers are those that the topology lists, and earlier ones whose streams still run.
	workers *fleet.Fleet[*workerLink]
	// tick is when keepTime looks at the queue next; 0 means never.
	tick int64
	// changed wakes those who wait for there to be fewer tasks.
	changed  notify.Broadcast
	accepted uint64
	closure

	// told is set once it is logged that nobody serves the stage, until somebody does.
	told    bool
	refused refusals

	signals
}

// span is how long a queue lives.
type span struct {
	cancelAll context.CancelFunc
	// done is closed when nothing of the queue runs.
	done chan struct{}
}

// identity is what a queue is called, by people and by workers.
type identity struct {
	name  string
	id    string
	fence uint64
}

// spares are recycled: empty channels for pushes to wait on, and stopped timers for pushes without a deadline.
type spares struct {
	calls  sync.Pool
	timers sync.Pool
}

// signals wake the goroutines of a queue: wake when tick is to be sooner, unattended when there may be nobody to take tasks.
type signals struct {
	wake       notify.Flag
	unattended notify.Flag
}

// closure is how a queue ends.
type closure struct {
	// failed is why the queue is frozen.
	failed   error
	isClosed bool
	// finishing is set while the node drains: only what handlers of tasks push is accepted.
	finishing bool
	// left and err are what Close and Drain return once the queue is done.
	left []Unfinished
	err  error
}

// newQueue makes a queue that runs until it is closed or its node is.
//
//nolint:contextcheck,nolintlint // for callers: a queue outlives the context of its maker; Close ends it
func newQueue(node *link.Node, route link.Route, set queueSettings) (*Queue, error) {
	if err := route.Validate(); err != nil {
		return nil, err
	}
	if set.clock.start.IsZero() {
		set.clock = newClock()
	}
	q := &Queue{
		node: node, route: route, set: set, clock: set.clock, tracer: (*trace.Tracer)(link.HostOf(node).Tracer()),
		identity: identity{name: route.String(), id: rand.Text(), fence: firstFence()},
		signals:  signals{wake: notify.NewFlag(), unattended: notify.NewFlag()}, span: span{done: make(chan struct{})},
	}
	ctx, cancel := context.WithCancel(context.Background())
	q.cancelAll = cancel
	q.workers = fleet.New(ctx, q.attendance())
	workers, err := link.HostOf(node).Follow(ctx, route, set.calls...)
	if err == nil && set.folder != "" {
		q.store, err = openStore(q, set.folder)
	}
	if err != nil {
		cancel()
		return nil, err
	}
	if q.tasks == nil {
		q.tasks = queue.New(set.queue)
	}
	started := link.HostOf(node).Go(func(context.Context) { //nolint:contextcheck // the workers channel tells when the node closes
		defer close(q.done)
		q.run(ctx, workers)
	})
	if !started {
		cancel()
		return nil, errors.Join(link.Errorf(link.Unavailable, "the node is closed"), q.finish())
	}
	return q, nil
}

// run runs the queue until ctx ends or the node closes, and then finishes it.
func (q *Queue) run(ctx context.Context, workers <-chan []discovery.Instance) {
	defer q.cancelAll()
	// The writer outlives ctx, so that what was accepted is written.
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var writer, others sync.WaitGroup
	if q.store != nil {
		writer.Go(func() { q.store.write(writing) })
	}
	others.Go(func() { q.keepTime(ctx) })
	q.mu.Lock()
	// A durable queue may have tasks already.
	q.noteUnservedLocked()
	q.mu.Unlock()
	others.Go(func() { q.tellUnserved(ctx) })
	for list := range workers {
		q.workers.Update(q.route.Service, list, func(in discovery.Instance) *workerLink { return q.linkTo(in.ID) })
	}
	q.cancelAll()
	q.workers.Wait()
	others.Wait()
	// Tasks that are pushed after the writer has stopped would not be written.
	q.shut()
	stop()
	writer.Wait()
	_ = q.finish() //nolint:contextcheck // ctx has ended; the error is kept for Close
}

// keepTime does what is due, until ctx ends.
func (q *Queue) keepTime(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-q.wake:
		case <-ctx.Done():
			return
		}
		q.mu.Lock()
		now := q.clock.now()
		var silent []string
		if q.tick <= now.UnixNano() {
			silent = q.tasks.Tick(now.UnixNano())
			q.noteUnservedLocked()
		}
		q.tick = q.tasks.Next()
		next := q.tick
		q.unlock()
		for _, id := range silent {
			q.tellRefused(id, errSilent)
		}
		if next == 0 {
			timer.Stop()
			continue
		}
		timer.Reset(max(time.Duration(next-now.UnixNano()), time.Millisecond))
	}
}

// unlock ends a change to the queue and wakes those who wait for its effects.
func (q *Queue) unlock() {
	if next := q.tasks.Next(); next != 0 && (q.tick == 0 || next < q.tick) {
		q.tick = next
		q.wake.Set()
	}
	var few [32]*queue.Task
	ended := q.tasks.TakeEnded(few[:0])
	var wake []chan struct{}
	if len(q.full) > 0 && (q.tasks.Room(0) || q.isClosed) {
		n := min(len(q.full), max(len(ended), 1))
		if q.isClosed {
			n = len(q.full)
		}
		wake = append(wake, q.full[:n]...)
		q.full = append(q.full[:0], q.full[n:]...)
	}
	if len(ended) > 0 {
		q.changed.All()
	}
	s := q.store
	if s != nil && (len(ended) > 0 || len(s.events.records) > 0) {
		s.ended = append(s.ended, ended...)
		s.wake.Set()
	}
	q.mu.Unlock()
	for _, c := range wake {
		c <- struct{}{}
	}
	if s == nil {
		settle(ended)
		q.tellDeadOf(ended)
	}
}

// withdrawLocked removes a task that was not written and will not be.
func (q *Queue) withdrawLocked(e *entry) {
	q.tasks.Withdraw(&e.Task)
	q.changed.All()
}

// tellDeadOf reports the dead letters among the tasks that have ended.
func (q *Queue) tellDeadOf(ended []*queue.Task) {
	for _, t := range ended {
		if t.End == queue.DeadLettered {
			q.tellDead(t)
		}
	}
}

// tellDead reports a dead letter to the function of OnDeadLetter, or logs it if there is none.
func (q *Queue) tellDead(t *queue.Task) {
	if q.set.onDead == nil {
		link.HostOf(q.node).Logger().Warn("pipeline: a task is a dead letter; see Queue.DeadLetters and OnDeadLetter",
			"stage", q.name, "task", taskID(q.id, t.Seq), "attempts", t.Attempts, "cause", t.Cause)
		return
	}
	defer func() {
		if p := recover(); p != nil {
			link.HostOf(q.node).Logger().Error("pipeline: OnDeadLetter panicked", "stage", q.name, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	q.set.onDead(deadLetter(q, t, q.clock.now()))
}

// add puts a task in the queue. If wait is set, it waits for room until ctx ends; it always waits for the disk.
func (q *Queue) add(ctx context.Context, e *entry, wait bool) (*entry, error) {
	twin, err := q.reserve(ctx, e, wait)
	if err != nil {
		return nil, err
	}
	return twin, q.await(ctx, twin)
}

// await waits until a task is on disk or refused, or ctx ends. It does not wait if the queue is in memory.
func (q *Queue) await(ctx context.Context, e *entry) error {
	if e.accepted == nil {
		return nil
	}
	select {
	case <-e.accepted:
		return e.refused()
	case <-ctx.Done():
		return link.Errorf(link.CodeOf(ctx.Err()), "push to %s: task %s is not on disk yet: %w", q.route, taskID(q.id, e.Seq), mayRun(context.Cause(ctx)))
	}
}

// reserve gives a task its number and its room, and hands it to the writer if the queue is durable.
func (q *Queue) reserve(ctx context.Context, e *entry, wait bool) (*entry, error) {
	if q.store != nil {
		e.accepted = make(chan struct{})
	}
	var turn chan struct{}
	for {
		q.mu.Lock()
		now := q.clock.now().UnixNano()
		got, err := (*queue.Task)(nil), queue.ErrClosed
		if !q.finishing || ctx.Value(taskKey{}) != nil {
			got, err = q.tasks.Reserve(&e.Task, now)
		}
		switch {
		case err == nil:
			twin, _ := got.Owner.(*entry)
			twin.wanted++
			q.accepted++
			if twin == e && q.store != nil {
				q.store.adds = append(q.store.adds, e)
				q.store.wake.Set()
			} else if twin == e {
				q.tasks.Start(&e.Task, now)
			}
			q.noteUnservedLocked()
			q.unlock()
			return twin, nil
		case errors.Is(err, queue.ErrClosed):
			failed := q.failed
			q.mu.Unlock()
			if failed != nil {
				return nil, failed
			}
			return nil, link.Errorf(link.Unavailable, "push to %s: the queue is closed", q.route)
		case !wait:
			q.mu.Unlock()
			return nil, q.errFull()
		}
		if turn == nil {
			turn = make(chan struct{}, 1)
		}
		q.full = append(q.full, turn)
		q.mu.Unlock()
		select {
		case <-turn:
		case <-ctx.Done():
			q.giveUp(turn)
			return nil, link.Errorf(link.CodeOf(ctx.Err()), "push to %s: the queue is full: %w", q.route, q.orUnserved(ctx))
		}
	}
}

func (q *Queue) errFull() error {
	return link.Errorf(link.ResourceExhausted, "push to %s: the queue holds as much as it may; see Capacity", q.route)
}

// giveUp removes a push from those that wait for room. If it was its turn, the next one gets it.
func (q *Queue) giveUp(turn chan struct{}) {
	q.mu.Lock()
	for i, c := range q.full {
		if c == turn {
			q.full = append(q.full[:i], q.full[i+1:]...)
			break
		}
	}
	q.unlock()
}

func (q *Queue) cancel(seq uint64) bool {
	q.mu.Lock()
	defer q.unlock()
	return q.tasks.Cancel(seq, q.clock.now().UnixNano())
}

// abandon cancels a task if nobody else has pushed it.
func (q *Queue) abandon(e *entry) {
	q.mu.Lock()
	defer q.unlock()
	if e.wanted--; e.wanted <= 0 {
		q.tasks.Cancel(e.Seq, q.clock.now().UnixNano())
	}
}

// connected reports whether a worker is connected.
func (q *Queue) connected() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.tasks.Connected() > 0
}
