// Package pipeline is push/pull over link: workers do tasks, each of them once if
// nothing fails, and no task is lost silently if something does.
//
// # Overview
//
// A [Stage] belongs to a service and is declared once. The service's instances are
// its workers: they [Pull]. Anybody may push: [Push] returns when a worker has done
// the task, [Enqueue] as soon as the producer's queue has it. Tasks wait at the
// producer; a worker is given only as many as it has room for.
//
// # Usage
//
//	var Receipts = pipeline.NewStage[Order, pipeline.None]("mailer", "receipts")
//
//	pipeline.Pull(node, Receipts, pipeline.NoResult(func(ctx context.Context, o Order) error {
//		return send(ctx, o) // nil: done
//	}))
//
//	_, err := pipeline.Push(ctx, node, Receipts, order)
//
// A stage may also have results, which Push returns:
//
//	var Totals = pipeline.NewStage[Order, Total]("books", "totals")
//
//	pipeline.Pull(node, Totals, func(ctx context.Context, o Order) (Total, error) { ... })
//
//	total, err := pipeline.Push(ctx, node, Totals, order)
//
// # Guarantees
//
// Every task that was accepted ends in exactly one way: acked, dead-lettered,
// expired, canceled, or returned by a queue that was closed. No task is lost while
// the producer lives or, for a [Durable] queue, while its disk does.
//
// A task is done effectively once, not exactly once: it may run twice if a worker is
// lost while it runs, or does not report in time that it is done. Its ID, its attempt
// and a fencing token, which is higher for each later delivery, let a handler detect
// that: see [TaskOf].
//
// Tasks of one [Key] are done one at a time, in the order in which they were
// accepted. Other tasks have no guaranteed order, but those that wait longer go first.
//
// # Failure
//
// An attempt has failed if the handler returns an error, panics, or runs longer than
// it may. The task then backs off, 1 s at first, and goes to any worker again. After
// five failed attempts it is a dead letter, kept with the history of its attempts. A
// worker whose connection is lost has 5 s to come back before its tasks are given to
// another.
//
// # Concurrency
//
// Everything here is safe for concurrent use, except for an [Item], which belongs to its
// handler. A worker runs at most as many handlers at a time as [Concurrency] says.
//
// # Errors
//
// Every error is a *link.Error; test it with errors.Is and a link.Code.
package pipeline

import (
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// Stage is a stage of a service. Its tasks are values of T, of at most 4 MiB encoded, with key,
// headers and trace. Each task that is done has a result, a value of R of at most 4 MiB encoded.
// R is [None] for a stage without results. Stages are comparable values.
type Stage[T, R any] struct{ service, name string }

// None is the result of a task of a stage without results. It is not encoded.
type None = struct{}

// NewStage declares a stage of a service. Workers and producers must declare it with the same
// types. An invalid name is reported by the first Pull or Push that uses it.
func NewStage[T, R any](service, name string) Stage[T, R] { return Stage[T, R]{service, name} }

// Route returns the untyped route of the stage.
func (s Stage[T, R]) Route() link.Route {
	return link.Route{Service: s.service, Name: s.name, Kind: link.KindStage}
}

// String returns "service/name".
func (s Stage[T, R]) String() string { return s.service + "/" + s.name }

// maxTask bounds the size of a task with its key, headers and trace, in bytes.
const maxTask = 4 << 20

// maxTasks bounds a frame of tasks, in bytes: one task of the maximum size, and what else fits in
// a frame.
const maxTasks = maxTask + frame.MaxBody

// backlogEvery limits how often a worker is told how many tasks wait.
const backlogEvery = 10 * time.Millisecond
