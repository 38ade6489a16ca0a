package pipeline

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/wal"
)

// A Target takes tasks of type T: a [Stage], through the node's own queue for it, or a
// [Producer]. If its tasks have results, nobody receives them.
type Target[T any] interface {
	put(ctx context.Context, node *link.Node, v T, opts []PushOption) error
}

func (s Stage[T, R]) put(ctx context.Context, node *link.Node, v T, opts []PushOption) error {
	_, err := Enqueue(ctx, node, s, v, opts...)
	return err
}

func (p *Producer[T, R]) put(ctx context.Context, _ *link.Node, v T, opts []PushOption) error {
	_, err := p.Enqueue(ctx, v, opts...)
	return err
}

// Through makes the node a worker between two stages: it pulls from in, which must be
// of its own service, and pushes the result of f for each task to out. A task of in is
// done when out's queue has accepted its result: in memory, or on disk if out is a
// durable [Producer]. While that queue or its disk is full, no more is taken from in, so
// that the producers of in wait as well; [MaxRun] limits f alone. If out's queue is
// closed, the task goes to another worker of in.
//
// The result of f has the key of the task, and an ID that is made of the task's ID and its
// producer. If the node is lost before it has reported that the task is done, but out's queue
// is not, the same result is not pushed twice within two minutes. The errors of f mean the
// same as those of a handler of [Pull].
func Through[A, B any](node *link.Node, in Stage[A, None], out Target[B], f func(ctx context.Context, task A) (B, error), opts ...PullOption) *Worker {
	if f == nil {
		// Pull panics because there is no handler.
		return Pull(node, in, nil, opts...)
	}
	return Pull(node, in, NoResult(func(ctx context.Context, a A) error {
		b, err := f(ctx, a)
		if err != nil {
			return err
		}
		Extend(ctx, math.MaxInt64)
		return pass(ctx, node, out, b)
	}), opts...)
}

// roomEvery is how often a push to a full disk is retried.
const roomEvery = time.Second

// pass puts the result of a task in the next queue, and waits for room.
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
