package pipeline

import (
	"context"
	"errors"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/trace"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/pool"
)

// spawnLocked starts one more runner if a task could begin. Each runner that begins a
// task starts the next runner, so that there are as many as are useful.
func (w *Worker) spawnLocked(now int64) {
	if w.runners < w.slots && w.pool.Waiting(now) {
		w.runners++
		w.hands.Go(w.runner)
	}
}

// runner runs handlers until no task waits. It takes the worker's lock once per turn, to
// report the outcomes of its tasks and to take the next ones.
func (w *Worker) runner() {
	w.takeTurns(&turn{worker: w, tracer: (*trace.Tracer)(link.HostOf(w.node).Tracer()), name: w.route.String()})
}

// takeTurns is runner from where r is.
func (w *Worker) takeTurns(r *turn) {
	defer func() {
		// The handler has ended its goroutine, which must not cost the worker a slot.
		if r.running {
			r.running = false
			w.hands.Go(func() { w.takeTurns(r) })
		}
	}()
	for {
		now := w.clock.now()
		w.mu.Lock()
		for i, t := range r.tasks {
			w.pool.Done(t, r.out[i], now.UnixNano())
		}
		if len(r.tasks) > 0 {
			w.pool.Free()
		}
		r.tasks = w.pool.Begin(r.tasks[:0], now.UnixNano())
		if len(r.tasks) == 0 {
			w.runners--
			w.mu.Unlock()
			return
		}
		r.prepare()
		w.spawnLocked(now.UnixNano())
		if d := r.deadline(); d != 0 && d < w.tick {
			w.wake.Set()
		}
		w.mu.Unlock()
		r.run()
	}
}

// turn is the state of a runner for the tasks of one slot.
type turn struct {
	worker *Worker
	tracer *trace.Tracer
	// name is the name of the stage, for tracing spans.
	name   string
	tasks  []*pool.Task
	ctxs   []*taskContext
	bodies []frame.Body
	out    []frame.Outcome
	// running is set while the handler runs.
	running bool
}

// prepare makes the contexts of the tasks, which the worker may cancel from then on. The
// worker's lock is held.
func (r *turn) prepare() {
	r.ctxs = r.ctxs[:0]
	for _, t := range r.tasks {
		from, _ := t.Source.Owner.(*producer)
		c := &taskContext{worker: r.worker, task: t}
		c.Context, c.cancel = context.WithCancelCause(from.base) //nolint:fatcontext // each task has its own
		c.info.Producer, c.info.from, c.info.queue, c.info.seq = from.peer, from.from, from.queue, t.Seq
		c.info.Attempt, c.info.Delivery, c.info.Fence = int(t.Attempt), int(t.Delivery()), t.Fence
		if t.Deadline != 0 {
			c.deadline = time.Unix(0, t.Deadline)
		}
		t.Owner = c
		r.ctxs = append(r.ctxs, c)
	}
}

// deadline returns the earliest deadline of the tasks, or 0 if there is none.
func (r *turn) deadline() int64 {
	first := int64(0)
	for _, t := range r.tasks {
		if t.Deadline != 0 && (first == 0 || t.Deadline < first) {
			first = t.Deadline
		}
	}
	return first
}

// run calls the handler for the tasks.
func (r *turn) run() {
	n := len(r.tasks)
	if cap(r.out) < n {
		r.out, r.bodies = make([]frame.Outcome, n), make([]frame.Body, n)
	}
	r.out, r.bodies = r.out[:n], r.bodies[:n]
	for i, t := range r.tasks {
		var err error
		if r.bodies[i], err = frame.ParseBody(t.Body); err != nil {
			// Without a payload, the task does not decode and is rejected.
			r.bodies[i] = frame.Body{}
		}
		c := r.ctxs[i]
		c.info.Key, c.info.Name, c.info.headers = r.bodies[i].Key, r.bodies[i].ID, r.bodies[i].Headers
	}
	clear(r.out)
	span := r.trace()
	// This runs even if the handler ends its goroutine.
	defer r.end(span)
	r.running = true
	r.worker.run(r.ctxs, r.bodies, r.out)
	r.running = false
}

// errExited is why an attempt has failed whose handler has ended its goroutine.
var errExited = errors.New("the handler ended its goroutine")

// end ends what run has begun.
func (r *turn) end(span trace.MessageSpan) {
	n := len(r.tasks)
	if r.running {
		link.HostOf(r.worker.node).Logger().Error("pipeline: a handler ended its goroutine (runtime.Goexit, or FailNow of a test); the attempt has failed", "stage", r.name)
		for i := range r.out {
			if r.out[i].Verb == 0 {
				r.out[i] = outcomeOf(nil, errExited)
			}
		}
	}
	code := uint32(0)
	if n == 1 && r.out[0].Verb != frame.Ack && r.out[0].Verb != frame.Result {
		code = uint32(link.Unknown)
	}
	span.End(code, nil)
	for _, c := range r.ctxs {
		c.cancel(link.ErrFinished)
	}
	clear(r.bodies)
}

// trace puts the context of a single task into its producer's trace. The contexts of a batch
// go into a trace of their own, which is linked to the traces of their producers.
func (r *turn) trace() (span trace.MessageSpan) {
	if len(r.ctxs) == 1 {
		body, c := &r.bodies[0], r.ctxs[0]
		if len(body.Trace) > 0 || r.tracer.Enabled() {
			how := trace.Child
			// Traces of another trust domain are not continued.
			if from, _ := r.tasks[0].Source.Owner.(*producer); from.foreign {
				how = trace.Foreign
			}
			c.Context, span = r.tracer.StartProcess(c.Context, r.name, carrierOf(body), how)
		}
		return span
	}
	if !r.tracer.Enabled() {
		return span
	}
	carriers := make([]trace.Carrier, len(r.bodies))
	for i := range r.bodies {
		carriers[i] = carrierOf(&r.bodies[i])
	}
	span = r.tracer.StartBatch(context.Background(), r.name, carriers)
	for _, c := range r.ctxs {
		c.Context = span.Within(c.Context) //nolint:fatcontext // each task has its own
	}
	return span
}

func carrierOf(body *frame.Body) trace.Carrier {
	carrier := make(trace.Carrier, 0, len(body.Trace))
	for _, p := range body.Trace {
		carrier = append(carrier, trace.Pair{Key: p.Name, Value: p.Value})
	}
	return carrier
}
