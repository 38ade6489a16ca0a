package pipeline

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/internal/epoch"
	"github.com/linkmesh/link/protocol/internal/flow"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/pool"
)

// Worker is a node's side of a stage that it pulls from. [Pull] makes it; it works
// while the node runs.
type Worker struct {
	node  *link.Node
	route link.Route
	epoch uint64
	clock clock
	slots int
	run   func(ctxs []*taskContext, bodies []frame.Body, out []frame.Outcome)

	mu      sync.Mutex // guards the fields below
	pool    *pool.Pool
	runners int
	// hands waits for the runners.
	hands sync.WaitGroup
	// tick is when keepTime looks at the pool next; 0 means never.
	tick int64
	// others counts the streams from producers of other nodes.
	others int
	// parted tells that such a stream has ended.
	parted notify.Broadcast
	// wake has a signal when tick is to be sooner.
	wake notify.Flag
}

// Pull makes the node a worker of stage s, which must be of its own service: f is
// called for each task, and returns its result. [NoResult] makes f of a function for a
// stage without results. An error of f is a failed attempt, and the task is tried again
// later, unless the error is that of [Retry], [Release] or [Reject], or wraps one of them. A
// result that cannot be encoded, or is longer than 4 MiB, rejects the task. f may keep the
// value of the task.
//
// The context of f ends when the task is canceled, at its deadline, after [MaxRun], or
// when the producer was lost for 5 s.
//
// Call Pull before the node runs, so that peers that find the node find its stages. It
// panics as [link.Host.Handle] does if the stage belongs to another service or has a
// handler already, if f is nil, or if [Concurrency] is out of range.
func Pull[T, R any](node *link.Node, s Stage[T, R], f func(ctx context.Context, task T) (R, error), opts ...PullOption) *Worker {
	w := newWorker(node, s.Route(), opts)
	w.run = each(w, func(ctx context.Context, v *T) ([]byte, error) {
		r, err := f(ctx, *v)
		if err != nil {
			return nil, err
		}
		return encodeResult(node, &r)
	})
	return w.start(f != nil)
}

// NoResult makes a function that returns only an error a handler of a stage without results.
// It returns nil if f is nil.
func NoResult[T any](f func(ctx context.Context, task T) error) func(ctx context.Context, task T) (None, error) {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, task T) (None, error) { return None{}, f(ctx, task) }
}

func newWorker(node *link.Node, route link.Route, opts []PullOption) *Worker {
	s := pullSettings{}
	for _, opt := range opts {
		opt.applyPull(&s)
	}
	if n := s.pool.Slots; n < 0 || n > maxConcurrency {
		panic(link.Errorf(link.InvalidArgument, "pull from %s: Concurrency is %d, want 0 to %d", route, n, maxConcurrency)) //nolint:forbidigo // a programmer error at set-up
	}
	if s.clock.start.IsZero() {
		s.clock = newClock()
	}
	w := &Worker{node: node, route: route, epoch: epoch.New() >> 2, clock: s.clock, wake: notify.NewFlag()}
	w.pool = pool.New(s.pool)
	w.slots = max(w.pool.Capacity()/max(s.pool.Batch, 1), 1)
	return w
}

// start serves the stage, and panics as [link.Host.Handle] does. has tells whether there is a handler.
func (w *Worker) start(has bool) *Worker {
	var serve link.StreamHandler
	if has {
		serve = func(ctx context.Context, st *link.Stream) error { return w.serve(ctx, st) }
	}
	// The streams last until system.begin ends them.
	link.HostOf(w.node).Handle(w.route, serve, link.Authorize(w.mayPush), link.LongLived())
	systemOf(w.node).addWorker(w)
	link.HostOf(w.node).Go(w.keepTime)
	return w
}

// each returns a function that runs f for the tasks of a slot, one by one. Usually there is one task.
func each[T any](w *Worker, f func(ctx context.Context, v *T) ([]byte, error)) func([]*taskContext, []frame.Body, []frame.Outcome) {
	one := func(ctx context.Context, body *frame.Body) (o frame.Outcome) {
		defer func() {
			if p := recover(); p != nil {
				o = outcomeOf(nil, w.panicked(p))
			}
		}()
		var v T
		if err := link.HostOf(w.node).Codec().Decode(body.Payload, &v); err != nil {
			return outcomeOf(nil, Reject(link.Errorf(link.Internal, "decoding the task into %T: %w", v, err)))
		}
		return outcomeOf(f(ctx, &v))
	}
	return func(ctxs []*taskContext, bodies []frame.Body, out []frame.Outcome) {
		for i, ctx := range ctxs {
			out[i] = one(ctx, &bodies[i])
		}
	}
}

// serve serves the stream of one producer until either side ends it.
func (w *Worker) serve(ctx context.Context, st stream) error {
	first, err := st.Recv()
	if err != nil {
		return err
	}
	var hello frame.Hello
	if err := frame.Decode(first, frame.KindHello, &hello); err != nil {
		return err
	}
	peer := st.Peer()
	if len(hello.Held) > frame.MaxList || len(hello.Queue) == 0 || len(hello.Queue) > 64 {
		return link.Errorf(link.InvalidArgument, "a HELLO with a queue of %d bytes and %d tasks", len(hello.Queue), len(hello.Held))
	}
	own := isOwn(w.node, peer)
	if own {
		systemOf(w.node).sight.see(hello.Queue, peer)
	} else {
		w.arrive()
		defer w.part()
	}
	from := flow.KeyOf(peer)
	w.mu.Lock()
	now := w.clock.now()
	src, found, err := w.pool.Join(pool.Hello{
		From: from, Queue: hello.Queue, Fence: hello.Fence, Held: hello.Held, First: hello.First, Last: hello.Last, Own: own,
	}, now.UnixNano())
	var ready <-chan struct{}
	if err == nil {
		w.lookLocked(now.UnixNano())
		// The channel identifies this stream: the next one gets another.
		ready = src.Ready()
		src.Owner = &producer{base: context.WithoutCancel(ctx), from: from, queue: hello.Queue, peer: peer.Service(), foreign: peer.Identity.TrustDomain() != w.node.Identity().TrustDomain()}
	}
	w.mu.Unlock()
	if err != nil {
		code := link.ResourceExhausted
		if errors.Is(err, pool.ErrFenced) {
			code = link.Aborted
		}
		return link.Errorf(code, "%s: %w", peer.Identity, err)
	}
	s := &session{worker: w, stream: st, source: src, ready: ready}
	s.heard.Store(now.UnixNano())
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.pool.Leave(src, ready, s.heard.Load(), w.clock.now().UnixNano())
		w.wake.Set()
	}()
	s.credit = creditOf(st)
	err = st.Grant(flow.Frames, s.credit)
	if errors.Is(err, link.ResourceExhausted) {
		// The producer's other streams use up its share.
		s.credit = leastCredit
		err = st.Grant(flow.Frames, s.credit)
	}
	if err != nil {
		return err
	}
	answer, err := frame.Encode(frame.KindWelcome, frame.Welcome{Epoch: w.epoch, Slots: w.capacity(), Unknown: found.Unknown, Running: found.Running})
	if err == nil {
		err = st.Send(answer)
	}
	if err != nil {
		return err
	}
	ended := make(chan error, 2)
	// The stream ends when serve returns, which ends both goroutines.
	go func() { ended <- s.write(ctx) }()
	go func() { ended <- s.read() }()
	if err := <-ended; !errors.Is(err, io.EOF) && !errors.Is(err, errDrained) {
		return err
	}
	return nil
}

// creditOf returns the credit that the other side of a stream gave before its first frame, in bytes.
// A worker gives as much as its producer did, or less if it has little.
func creditOf(st stream) int {
	_, bytes := st.Credit()
	return int(min(max(bytes, leastCredit), mostCredit))
}

// Bounds of the credit that a worker gives a producer, in bytes.
const (
	leastCredit = 2 * flow.MinFrame
	mostCredit  = 1 << 20
)

// producer is what a worker knows about a producer, for its handlers.
type producer struct {
	base        context.Context //nolint:containedctx // for handlers, which outlast the stream
	from        share.Key
	queue, peer string
	// foreign reports whether the producer is in another trust domain.
	foreign bool
}

func (w *Worker) capacity() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pool.Capacity()
}

func (w *Worker) extend(t *pool.Task, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pool.Extend(t, d, w.clock.now().UnixNano())
}

// keepTime does what is due, until the node closes. It then cancels the running handlers
// and waits for them.
func (w *Worker) keepTime(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var over []pool.Cancellation
	for {
		select {
		case <-timer.C:
		case <-w.wake:
		case <-ctx.Done():
			w.abandon()
			return
		}
		w.mu.Lock()
		now := w.clock.now()
		over = w.pool.Tick(over[:0], now.UnixNano())
		w.spawnLocked(now.UnixNano())
		w.tick = w.pool.Next(now.UnixNano())
		next := w.tick
		w.mu.Unlock()
		cancelAll(over)
		if next == 0 {
			timer.Stop()
			continue
		}
		timer.Reset(max(time.Duration(next-now.UnixNano()), time.Millisecond))
	}
}

// abandonTime is how long a node that closes waits for handlers whose contexts have
// ended.
const abandonTime = 10 * time.Second

// abandon cancels all handlers and waits for them, at most for abandonTime.
func (w *Worker) abandon() {
	w.mu.Lock()
	w.pool.Drain(true, w.clock.now().UnixNano())
	over := w.pool.Abandon(nil)
	w.mu.Unlock()
	cancelAll(over)
	ended := make(chan struct{})
	go func() {
		w.hands.Wait()
		close(ended)
	}()
	timer := time.NewTimer(abandonTime)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		// The handlers ignore their contexts, but the process is about to end.
	}
}

func cancelAll(over []pool.Cancellation) {
	for _, c := range over {
		if ctx, ok := c.Task.Owner.(*taskContext); ok {
			ctx.cancel(c.Cause)
		}
	}
}
