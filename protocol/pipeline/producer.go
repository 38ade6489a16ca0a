package pipeline

import (
	"context"
	"sync"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// maxName bounds keys, tenants and IDs, in bytes. maxHeaderBytes bounds the names and values of
// all headers of a task.
const (
	maxName        = 255
	maxHeaderBytes = 16 << 10
)

// encode makes the entry of a task. It reports whether the push is to fail fast.
func (q *Queue) encode(ctx context.Context, v any, opts []PushOption) (*entry, bool, error) {
	e := &entry{owner: q}
	t := &e.Task
	t.Owner, t.Priority = e, defaultPriority
	var body frame.Body
	failFast := false
	if len(opts) > 0 {
		var err error
		if body, failFast, err = q.apply(t, opts); err != nil {
			return nil, false, err
		}
	}
	for _, p := range q.tracer.Inject(ctx, nil) {
		body.Trace = append(body.Trace, frame.Pair{Name: p.Key, Value: p.Value})
	}
	buf, _ := payloads.Get().(*[]byte)
	defer payloads.Put(buf)
	var err error
	if *buf, err = link.HostOf(q.node).Codec().Append(body.Append((*buf)[:0]), v); err != nil {
		code := link.CodeOf(err)
		// ResourceExhausted means that v exceeds a limit of the codec.
		if code != link.ResourceExhausted {
			code = link.InvalidArgument
		}
		return nil, false, link.Errorf(code, "push to %s: encoding %T: %w", q.route, v, err)
	}
	if n := len(*buf); n > maxTask {
		*buf = nil
		return nil, false, link.Errorf(link.ResourceExhausted, "push to %s: the task has %d bytes with its key, headers and trace, of at most %d; store the data elsewhere and push a reference to it", q.route, n, maxTask)
	}
	t.Body = append(make([]byte, 0, len(*buf)), *buf...)
	if cap(*buf) > keepPayload {
		*buf = nil
	}
	return e, failFast, nil
}

// apply applies options to a task. It reports whether the push is not to wait for a
// worker.
func (q *Queue) apply(t *queue.Task, opts []PushOption) (body frame.Body, failFast bool, err error) {
	set := pushSettings{task: t}
	for _, opt := range opts {
		opt.applyPush(&set)
	}
	if err := q.check(&set); err != nil {
		return body, false, err
	}
	now := q.clock.now().UnixNano()
	if set.delay > 0 {
		t.NotBefore = after(now, set.delay)
	}
	if set.ttl > 0 {
		t.Expires = after(now, set.ttl)
	}
	if !set.deadline.IsZero() {
		t.Deadline = after(now, time.Until(set.deadline))
	}
	body.Key, body.ID = t.Key, t.ID
	for _, h := range set.headers {
		body.Headers = append(body.Headers, frame.Pair{Name: h.name, Value: h.value})
	}
	return body, set.failFast, nil
}

// check returns an error if an option of a task is out of range.
func (q *Queue) check(s *pushSettings) error {
	for _, o := range [...]struct{ name, value string }{{"Key", s.task.Key}, {"Tenant", s.task.Tenant}, {"ID", s.task.ID}} {
		if len(o.value) > maxName {
			return link.Errorf(link.InvalidArgument, "push to %s: %s has %d bytes, of at most %d", q.route, o.name, len(o.value), maxName)
		}
	}
	if n := len(s.headers); n > frame.MaxPairs {
		return link.Errorf(link.InvalidArgument, "push to %s: %d headers, of at most %d", q.route, n, frame.MaxPairs)
	}
	n := 0
	for _, h := range s.headers {
		n += len(h.name) + len(h.value)
	}
	if n > maxHeaderBytes {
		return link.Errorf(link.InvalidArgument, "push to %s: headers of %d bytes, of at most %d", q.route, n, maxHeaderBytes)
	}
	if p := s.task.Priority; p > queue.MaxPriority {
		return link.Errorf(link.InvalidArgument, "push to %s: Priority is %d, want 0 to %d", q.route, p, queue.MaxPriority)
	}
	return nil
}

// farOff is the latest time that a record can hold, in nanoseconds since 1970: it is in
// the year 2116. Later times become farOff.
const farOff = 1<<62 - 1

// after returns the time d from now, limited to the range from 1 to farOff.
func after(now int64, d time.Duration) int64 {
	if d > time.Duration(farOff-now) {
		return farOff
	}
	return max(now+int64(d), 1)
}

// payloads recycles the buffers that tasks are encoded in. It is only a cache, so it
// may be global.
var payloads = sync.Pool{New: func() any { return new([]byte) }} //nolint:gochecknoglobals // see above

// keepPayload is the largest buffer that is recycled, in bytes.
const keepPayload = 64 << 10

// enqueue puts a task in the queue, in a tracing span. If wait is set, it waits for room until
// ctx ends. If until is not zero, it waits until then at the latest, for room and for the disk.
func (q *Queue) enqueue(ctx context.Context, v any, wait bool, until time.Time, opts []PushOption) (e *entry, err error) {
	ctx, span := q.tracer.StartSend(ctx, q.name)
	defer func() { span.End(uint32(link.CodeOf(err)), err) }()
	e, failFast, err := q.encode(ctx, v, opts)
	if err != nil {
		return nil, err
	}
	if failFast && !q.connected() {
		if err := q.unserved(); err != nil {
			return nil, link.Errorf(link.Unavailable, "push to %s: no worker is connected: %w", q.route, err)
		}
		return nil, link.Errorf(link.Unavailable, "push to %s: no worker is connected", q.route)
	}
	if !until.IsZero() {
		return q.addWithin(ctx, e, until)
	}
	return q.add(ctx, e, wait)
}

// push puts a task in the queue and waits until it has ended. If ctx has no deadline, it
// waits for link.Config.Limits.CallTimeout.
func (q *Queue) push(ctx context.Context, v any, opts []PushOption) (e *entry, err error) {
	var until time.Time
	var late <-chan time.Time
	if _, ok := ctx.Deadline(); !ok {
		until = time.Now().Add(link.HostOf(q.node).CallTimeout())
		t := q.patience(until)
		defer q.putPatience(t)
		late = t.C
	}
	e, err = q.enqueue(ctx, v, true, until, opts)
	if err != nil {
		return nil, err
	}
	c, ok := q.calls.Get().(chan struct{})
	if !ok {
		c = make(chan struct{}, 1)
	}
	if e.call(c) {
		q.calls.Put(c)
		return e, e.err()
	}
	code, cause := link.DeadlineExceeded, errPushTime
	select {
	case <-c:
		q.calls.Put(c)
		return e, e.err()
	case <-late:
	case <-ctx.Done():
		code, cause = link.CodeOf(ctx.Err()), context.Cause(ctx)
	}
	if e.hangUp(c) {
		<-c
	}
	q.calls.Put(c)
	err = q.errUnended(e, code, cause)
	q.abandon(e)
	return nil, err
}

// Push pushes v to stage s and returns the result when a worker has done the task. If the stage
// has no results, only the error matters. Push waits for room in the queue and for a worker until
// ctx ends or, if ctx has no deadline, for link.Config.Limits.CallTimeout. If that ends first, the task
// is canceled, unless a worker completes it anyway or others have pushed it with the same [ID].
// Push uses the node's own queue for the stage, in memory; [NewProducer] makes others.
//
// Errors: those of [Future.Wait]; InvalidArgument if v cannot be encoded or an
// option is out of range; ResourceExhausted if the task has more than 4 MiB with its key,
// headers and trace; those of [link.Host.Follow].
func Push[T, R any](ctx context.Context, node *link.Node, s Stage[T, R], v T, opts ...PushOption) (R, error) {
	q, err := defaultQueue(node, s.Route())
	if err != nil {
		var none R
		return none, err
	}
	return push[R](ctx, q, &v, opts)
}

// push pushes a task and returns its result.
func push[R any](ctx context.Context, q *Queue, v any, opts []PushOption) (R, error) {
	e, err := q.push(ctx, v, opts)
	if err != nil {
		var none R
		return none, err
	}
	return resultOf[R](q.node, e)
}

// Enqueue pushes v to stage s and returns when the queue has accepted it. It waits for
// room until ctx ends. The future tells how the task ends, and has its result.
//
// Errors: those of [Push] that occur before a worker has the task.
func Enqueue[T, R any](ctx context.Context, node *link.Node, s Stage[T, R], v T, opts ...PushOption) (*Future[R], error) {
	q, err := defaultQueue(node, s.Route())
	if err != nil {
		return nil, err
	}
	return enqueue[R](ctx, q, &v, true, opts)
}

// TryPush is like [Enqueue] but does not wait for room: it fails with
// link.ResourceExhausted if the queue is full.
func TryPush[T, R any](ctx context.Context, node *link.Node, s Stage[T, R], v T, opts ...PushOption) (*Future[R], error) {
	q, err := defaultQueue(node, s.Route())
	if err != nil {
		return nil, err
	}
	return enqueue[R](ctx, q, &v, false, opts)
}

// enqueue puts a task in a queue. If wait is set, it waits for room until ctx ends.
func enqueue[R any](ctx context.Context, q *Queue, v any, wait bool, opts []PushOption) (*Future[R], error) {
	e, err := q.enqueue(ctx, v, wait, time.Time{}, opts)
	if err != nil {
		return nil, err
	}
	return &Future[R]{e, q}, nil
}

// Producer is a queue of tasks for a stage, with settings of its own. T and R are those of
// the [Stage].
type Producer[T, R any] struct {
	*Queue
}

// NewProducer makes a queue for stage s at node. It lasts until it is drained or
// closed, or the node closes. Close it before the node to learn what is unfinished. Nobody
// receives the results of tasks that a [Durable] queue has from an earlier run.
//
// Errors: InvalidArgument for an invalid name; those of [link.Host.Follow]; for a
// durable queue, FailedPrecondition if the folder cannot be used, is in use, or
// belongs to another stage, and DataLoss if its contents are damaged.
func NewProducer[T, R any](node *link.Node, s Stage[T, R], opts ...QueueOption) (*Producer[T, R], error) {
	q, err := openQueue(node, s.Route(), opts)
	if err != nil {
		return nil, err
	}
	return &Producer[T, R]{q}, nil
}

func openQueue(node *link.Node, route link.Route, opts []QueueOption) (*Queue, error) {
	var set queueSettings
	for _, opt := range opts {
		opt.applyQueue(&set)
	}
	q, err := newQueue(node, route, set)
	if err == nil {
		systemOf(node).add(q)
	}
	return q, err
}

// Push pushes a task and returns the result when a worker has done it; see the function [Push].
func (p *Producer[T, R]) Push(ctx context.Context, v T, opts ...PushOption) (R, error) {
	return push[R](ctx, p.Queue, &v, opts)
}

// Enqueue pushes a task and returns when the queue has accepted it, on disk if the queue
// is durable; see the function [Enqueue].
func (p *Producer[T, R]) Enqueue(ctx context.Context, v T, opts ...PushOption) (*Future[R], error) {
	return enqueue[R](ctx, p.Queue, &v, true, opts)
}

// EnqueueAll pushes tasks in order and returns when the queue has accepted all of them.
// It waits for the disk once, not for each task. If there is an error, the futures are
// those of the accepted tasks.
func (p *Producer[T, R]) EnqueueAll(ctx context.Context, values []T, opts ...PushOption) ([]*Future[R], error) {
	entries := make([]*entry, 0, len(values))
	var failed error
	ctx, span := p.tracer.StartSend(ctx, p.name)
	defer func() { span.End(uint32(link.CodeOf(failed)), failed) }()
	for i := range values {
		e, _, err := p.encode(ctx, &values[i], opts)
		if err == nil {
			e, err = p.reserve(ctx, e, true)
		}
		if err != nil {
			failed = err
			break
		}
		entries = append(entries, e)
	}
	out := make([]*Future[R], 0, len(entries))
	for _, e := range entries {
		if err := p.await(ctx, e); err != nil {
			failed = err
			continue
		}
		out = append(out, &Future[R]{e, p.Queue})
	}
	return out, failed
}

// TryPush is like Enqueue but does not wait for room.
func (p *Producer[T, R]) TryPush(ctx context.Context, v T, opts ...PushOption) (*Future[R], error) {
	return enqueue[R](ctx, p.Queue, &v, false, opts)
}
