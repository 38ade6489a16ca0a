package pipeline

import (
	"context"
	"sync"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/tracing"
)

// maxName bounds keys, tenants and IDs, in bytes.
const maxName = 255

// encode makes the entry of a task.
func (q *Queue) encode(ctx context.Context, v any, opts []PushOption) (*entry, *pushSettings, error) {
	e := &entry{owner: q}
	var set pushSettings
	set.task.Priority = defaultPriority
	for _, opt := range opts {
		opt.applyPush(&set)
	}
	t := &set.task
	if len(t.Key) > maxName || len(t.Tenant) > maxName || len(t.ID) > maxName || len(set.headers) > frame.MaxPairs {
		return nil, nil, link.Errorf(link.InvalidArgument, "push to %s: key, tenant and ID have %d, %d and %d bytes, of at most %d each; %d headers, of at most %d",
			q.route, len(t.Key), len(t.Tenant), len(t.ID), maxName, len(set.headers), frame.MaxPairs)
	}
	now := time.Now()
	if set.delay > 0 {
		t.NotBefore = now.Add(set.delay).UnixNano()
	}
	if set.ttl > 0 {
		t.Expires = now.Add(set.ttl).UnixNano()
	}
	if !set.deadline.IsZero() {
		t.Deadline = set.deadline.UnixNano()
	}
	body := frame.Body{Key: t.Key, ID: t.ID}
	for _, h := range set.headers {
		body.Headers = append(body.Headers, frame.Pair{Name: h.name, Value: h.value})
	}
	var carrier [8]tracing.Pair
	for _, p := range q.tracer.Inject(ctx, carrier[:0]) {
		body.Trace = append(body.Trace, frame.Pair{Name: p.Key, Value: p.Value})
	}
	buf, _ := payloads.Get().(*[]byte) // New makes nothing else
	defer payloads.Put(buf)
	var err error
	if *buf, err = q.node.Codec().Append(body.Append((*buf)[:0]), v); err != nil {
		return nil, nil, link.Errorf(link.InvalidArgument, "push to %s: encoding %T: %w", q.route, v, err)
	}
	t.Body = append(make([]byte, 0, len(*buf)), *buf...)
	if cap(*buf) > keepPayload {
		*buf = nil
	}
	e.Task = *t
	e.Owner = e
	return e, &set, nil
}

// payloads recycles the buffers that tasks are encoded in. It is a cache without
// meaning for behavior, hence global.
var payloads = sync.Pool{New: func() any { return new([]byte) }} //nolint:gochecknoglobals // see above

// keepPayload is the largest buffer that is kept, in bytes.
const keepPayload = 64 << 10

func (q *Queue) enqueue(ctx context.Context, v any, wait bool, opts []PushOption) (*entry, error) {
	e, set, err := q.encode(ctx, v, opts)
	if err != nil {
		return nil, err
	}
	if set.failFast && !q.connected() {
		return nil, link.Errorf(link.Unavailable, "push to %s: no worker is connected", q.route)
	}
	return q.add(ctx, e, wait)
}

// push puts a task in the queue and waits until it has ended.
func (q *Queue) push(ctx context.Context, v any, opts []PushOption) (e *entry, err error) {
	ctx, span := q.tracer.StartClient(ctx, q.route.String())
	defer func() { span.End(uint32(link.CodeOf(err)), err) }()
	e, err = q.enqueue(ctx, v, true, opts)
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
	select {
	case <-c:
	case <-ctx.Done():
		if e.hangUp(c) {
			<-c
		}
		q.calls.Put(c)
		q.cancel(e.Seq)
		return nil, link.Errorf(link.CodeOf(ctx.Err()), "push to %s: task %s has not ended: %w", q.route, taskID(q.id, e.Seq), context.Cause(ctx))
	}
	q.calls.Put(c)
	return e, e.err()
}

type queuesKey struct{ route link.Route }

// made is what the first push to a stage left for the others.
type made struct {
	queue *Queue
	err   error
}

// defaultQueue is the queue that the functions without a Producer use.
func defaultQueue(node *link.Node, route link.Route) (*Queue, error) {
	m, _ := node.Extension(queuesKey{route}, func() any {
		q, err := newQueue(node, route, queueSettings{})
		return made{q, err}
	}).(made)
	return m.queue, m.err
}

// Push pushes v to stage s and returns when a worker has done it: nil says so. It
// waits for room in the queue and for a worker; if ctx ends first the task is
// cancelled, unless a worker does it all the same. It uses the node's own queue for
// the stage, in memory; [NewProducer] makes others.
//
// Errors: those of [Future.Wait]; InvalidArgument if v cannot be encoded or an
// option is out of range; those of [link.Node.Follow].
func Push[T any](ctx context.Context, node *link.Node, s Stage[T], v T, opts ...PushOption) error {
	q, err := defaultQueue(node, s.Route())
	if err == nil {
		_, err = q.push(ctx, &v, opts)
	}
	return err
}

// PushResult is [Push] to a stage with results.
func PushResult[T, R any](ctx context.Context, node *link.Node, s StageResult[T, R], v T, opts ...PushOption) (R, error) {
	var r R
	q, err := defaultQueue(node, s.Route())
	if err != nil {
		return r, err
	}
	e, err := q.push(ctx, &v, opts)
	if err != nil {
		return r, err
	}
	return r, decodeResult(node.Codec(), e, &r)
}

// Enqueue pushes v to stage s and returns when the queue has it, waiting for room
// until ctx ends. The future says what becomes of it.
//
// Errors: as [Push] before a worker has the task.
func Enqueue[T any](ctx context.Context, node *link.Node, s Stage[T], v T, opts ...PushOption) (*Future, error) {
	q, err := defaultQueue(node, s.Route())
	if err != nil {
		return nil, err
	}
	e, err := q.enqueue(ctx, &v, true, opts)
	if err != nil {
		return nil, err
	}
	return &Future{e, q}, nil
}

// EnqueueResult is [Enqueue] to a stage with results.
func EnqueueResult[T, R any](ctx context.Context, node *link.Node, s StageResult[T, R], v T, opts ...PushOption) (*FutureResult[R], error) {
	q, err := defaultQueue(node, s.Route())
	if err != nil {
		return nil, err
	}
	e, err := q.enqueue(ctx, &v, true, opts)
	if err != nil {
		return nil, err
	}
	return &FutureResult[R]{Future{e, q}, node.Codec()}, nil
}

// TryPush is [Enqueue] that never waits: it fails with link.ResourceExhausted if the
// queue is full.
func TryPush[T any](node *link.Node, s Stage[T], v T, opts ...PushOption) (*Future, error) {
	q, err := defaultQueue(node, s.Route())
	if err != nil {
		return nil, err
	}
	e, err := q.enqueue(context.Background(), &v, false, opts)
	if err != nil {
		return nil, err
	}
	return &Future{e, q}, nil
}
