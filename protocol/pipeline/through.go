package pipeline

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/wal"
)

// A Target takes tasks: a [Stage], through the node's own queue for it, or a
// [Producer].
type Target[T any] interface {
	put(ctx context.Context, node *link.Node, v T, opts []PushOption) error
}

func (s Stage[T]) put(ctx context.Context, node *link.Node, v T, opts []PushOption) error {
	_, err := Enqueue(ctx, node, s, v, opts...)
	return err
}

func (p *Producer[T]) put(ctx context.Context, _ *link.Node, v T, opts []PushOption) error {
	_, err := p.Enqueue(ctx, v, opts...)
	return err
}

// Through makes the node a worker between two stages: it pulls from in, which must be
// of its own service, and pushes what f makes of each task to out. A task of in is
// done when out's queue has accepted what came of it: in memory, or on disk if out is
// a [Producer] that is durable. While that queue is full, or its disk is, no more is
// taken from in, so that its producers wait as well: [MaxRun] is for f alone. If it is
// closed, the task goes to another worker of in.
//
// What f makes of a task keeps the task's key, and has an ID made of the task's and its
// producer: if the node is lost before it has said that it is done, and out's queue is not, the
// same is not pushed twice within two minutes. The errors of f mean what those of a handler of [Pull] do.
func Through[A, B any](node *link.Node, in Stage[A], out Target[B], f func(ctx context.Context, task A) (B, error), opts ...PullOption) *Worker {
	if f == nil {
		return Pull[A](node, in, nil, opts...) // which says so
	}
	return Pull(node, in, func(ctx context.Context, a A) error {
		b, err := f(ctx, a)
		if err != nil {
			return err
		}
		Extend(ctx, math.MaxInt64)
		return pass(ctx, node, out, b)
	}, opts...)
}

// roomEvery is how soon a disk that is full is tried again.
const roomEvery = time.Second

// pass puts what came of a task in the next queue, waiting for room.
func pass[B any](ctx context.Context, node *link.Node, out Target[B], b B) error {
	task := TaskOf(ctx)
	for {
		err := out.put(ctx, node, b, []PushOption{Key(task.Key), ID(task.passedID())})
		switch {
		case errors.Is(err, wal.ErrNoSpace):
		case link.CodeOf(err) == link.Unavailable:
			return Release(err.Error())
		default:
			return err
		}
		select {
		case <-time.After(roomEvery):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
