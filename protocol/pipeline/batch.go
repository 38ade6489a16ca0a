package pipeline

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// Item is one task of a batch.
type Item[T any] struct {
	Value T
	Task  *Task

	ctx    context.Context //nolint:containedctx // each task has its own
	failed error
}

// Fail sets the outcome of this task, whatever the batch handler returns. The error means
// what it means when a handler of [Pull] returns it; nil means that the task is done.
func (i *Item[T]) Fail(err error) {
	if err == nil {
		err = errDone
	}
	i.failed = err
}

// Context returns the context of this task alone.
func (i *Item[T]) Context() context.Context { return i.ctx }

// errDone is what Item.Fail stores in place of nil.
var errDone = errors.New("done")

// PullBatch is [Pull] for handlers that take several tasks at once; see [Batch]. The
// error that f returns applies to all tasks for which [Item.Fail] was not called. The
// context of f ends when the contexts of all its tasks have ended.
func PullBatch[T any](node *link.Node, s Stage[T], f func(ctx context.Context, batch []*Item[T]) error, opts ...PullOption) *Worker {
	w := newWorker(node, s.Route(), opts)
	w.run = func(ctxs []*taskContext, bodies []frame.Body, out []frame.Outcome) {
		items := make([]*Item[T], 0, len(ctxs))
		places := make([]int, 0, len(ctxs))
		for i, ctx := range ctxs {
			item := &Item[T]{Task: &ctx.info, ctx: ctx}
			if err := link.HostOf(node).Codec().Decode(bodies[i].Payload, &item.Value); err != nil {
				out[i] = outcomeOf(Reject(link.Errorf(link.Internal, "decoding the task into %T: %w", item.Value, err)))
				continue
			}
			items, places = append(items, item), append(places, i)
		}
		if len(items) == 0 {
			return
		}
		err := runBatch(w, items, f)
		for i, item := range items {
			verdict := err
			if item.failed != nil {
				verdict = item.failed
			}
			if verdict == errDone { //nolint:errorlint // it is that very value
				verdict = nil
			}
			out[places[i]] = outcomeOf(verdict)
		}
	}
	return w.start(f != nil)
}

// batchContext is the base of a batch's context. It belongs to no single task, and extends all of them.
type batchContext[T any] struct {
	context.Context //nolint:containedctx // it is a context

	items []*Item[T]
}

// Value implements context.Context.
func (c batchContext[T]) Value(key any) any {
	if _, ok := key.(taskKey); ok {
		return c
	}
	return c.Context.Value(key)
}

func (c batchContext[T]) extend(d time.Duration) {
	for _, item := range c.items {
		Extend(item.ctx, d)
	}
}

func runBatch[T any](w *Worker, items []*Item[T], f func(ctx context.Context, batch []*Item[T]) error) (err error) {
	ctx, cancel := context.WithCancelCause(batchContext[T]{context.WithoutCancel(items[0].ctx), items})
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
