package pipeline

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// Item is one task of a batch. Its handler answers it with [Item.Ack] or [Item.Nack], or leaves
// that to the error that it returns for all tasks. The last answer counts, and is sent when the
// handler has returned: an item must not be answered after that, nor by two goroutines at once.
type Item[T, R any] struct {
	Value T
	Task  *Task

	ctx    context.Context //nolint:containedctx // each task has its own
	result R
	// answer is nil until the task is answered, and errAcked once it is done.
	answer error
}

// Ack says that this task is done, with result r, whatever the batch handler returns.
func (i *Item[T, R]) Ack(r R) { i.result, i.answer = r, errAcked }

// Nack says that this task is not done, whatever the batch handler returns. The error means
// what it means when a handler of [Pull] returns it; nil is a failed attempt without a cause.
func (i *Item[T, R]) Nack(err error) {
	if err == nil {
		err = errNoCause
	}
	i.answer = err
}

// Context returns the context of this task alone.
func (i *Item[T, R]) Context() context.Context { return i.ctx }

var (
	// errAcked is the answer to a task that is done.
	errAcked = errors.New("acked")
	// errUnanswered is why an attempt failed that should have had a result.
	errUnanswered = errors.New("the batch handler returned without an error, and did not answer the task: each task of a stage with results needs Item.Ack")
)

// outcome returns the outcome of the task, whose batch handler has returned err.
func (i *Item[T, R]) outcome(w *Worker, err error) (o frame.Outcome) {
	// Encoding the result, or the error's text, may panic.
	defer func() {
		if p := recover(); p != nil {
			o = outcomeOf(nil, w.panicked(p))
		}
	}()
	switch {
	case i.answer == errAcked: //nolint:errorlint // it is that very value
		return outcomeOf(encodeResult(w.node, &i.result))
	case i.answer != nil:
		err = i.answer
	case err == nil && !isNone[R]():
		err = errUnanswered
	}
	return outcomeOf(nil, err)
}

// PullBatch is [Pull] for handlers that take several tasks at once; see [Batch]. The error that
// f returns applies to all tasks that f has not answered with [Item.Ack] or [Item.Nack]. If it
// is nil, those tasks are done or, in a stage with results, have failed, because each of them
// needs a result. The context of f ends when the contexts of all its tasks have ended.
func PullBatch[T, R any](node *link.Node, s Stage[T, R], f func(ctx context.Context, batch []*Item[T, R]) error, opts ...PullOption) *Worker {
	w := newWorker(node, s.Route(), opts)
	w.run = func(ctxs []*taskContext, bodies []frame.Body, out []frame.Outcome) {
		items := make([]*Item[T, R], 0, len(ctxs))
		places := make([]int, 0, len(ctxs))
		for i, ctx := range ctxs {
			item := &Item[T, R]{Task: &ctx.info, ctx: ctx}
			if err := item.decode(w, bodies[i].Payload); err != nil {
				out[i] = outcomeOf(nil, err)
				continue
			}
			items, places = append(items, item), append(places, i)
		}
		if len(items) == 0 {
			return
		}
		err := runBatch(w, items, f)
		for i, item := range items {
			out[places[i]] = item.outcome(w, err)
		}
	}
	return w.start(f != nil)
}

// decode decodes the task. A type may decode itself with user code, which may panic: then only this task has failed.
func (i *Item[T, R]) decode(w *Worker, payload []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = w.panicked(p)
		}
	}()
	if err := link.HostOf(w.node).Codec().Decode(payload, &i.Value); err != nil {
		return Reject(link.Errorf(link.Internal, "decoding the task into %T: %w", i.Value, err))
	}
	return nil
}

// batchContext is the base of a batch's context. It belongs to no single task, and extends all of them.
type batchContext[T, R any] struct {
	context.Context //nolint:containedctx // it is a context

	items []*Item[T, R]
}

// Value implements context.Context.
func (c batchContext[T, R]) Value(key any) any {
	if _, ok := key.(taskKey); ok {
		return c
	}
	return c.Context.Value(key)
}

func (c batchContext[T, R]) extend(d time.Duration) {
	for _, item := range c.items {
		Extend(item.ctx, d)
	}
}

func runBatch[T, R any](w *Worker, items []*Item[T, R], f func(ctx context.Context, batch []*Item[T, R]) error) (err error) {
	ctx, cancel := context.WithCancelCause(batchContext[T, R]{context.WithoutCancel(items[0].ctx), items})
	defer cancel(link.ErrFinished)
	var open atomic.Int64
	open.Store(int64(len(items)))
	for _, item := range items {
		defer context.AfterFunc(item.ctx, func() {
			if open.Add(-1) == 0 {
				cancel(context.Cause(item.ctx))
			}
		})()
	}
	defer func() {
		if p := recover(); p != nil {
			err = w.panicked(p)
		}
	}()
	return f(ctx, items)
}
