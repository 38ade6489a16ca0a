package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/pool"
)

// Task describes the task that a handler runs.
type Task struct {
	Key string
	// Name is the ID that the producer gave the task with [ID], or "".
	Name string
	// Attempt counts from 1.
	Attempt int
	// Delivery is how many times the task was sent to a worker, counting from 1.
	Delivery int
	// Fence is higher for each later delivery of any task of a queue. A store that
	// keeps the highest fence it has seen and refuses lower ones is safe from a worker
	// that was given up but still runs. The fence also grows from one run of a [Durable]
	// queue to the next, and from a queue in memory to later ones of the process, whatever
	// the system clock is set to. It grows from a queue in memory to that of the next
	// process unless the clock was set back in between.
	Fence uint64
	// Producer is the service of the producer's identity.
	Producer string

	from    share.Key
	queue   string
	seq     uint64
	headers []frame.Pair
}

// ID returns the unique ID of the task, which is the same in each delivery. It is made of the queue
// that the task comes from and its number there. Any peer that may push can claim the name of
// another one's queue, so a handler that stores which tasks are done must store the Producer with the
// ID. That helps in production, where identities are proven. In the dev and the cluster-secret tier
// any member can claim the name of a service as well, so that both may be those of another member: a
// handler that must not be deceived by members needs the production tier.
func (t *Task) ID() string { return taskID(t.queue, t.seq) }

// passedID returns the ID of the task that a stage makes of this one. It is unique to the producer.
func (t *Task) passedID() string {
	sum := sha256.Sum256([]byte(t.from.Name + " " + t.from.Place))
	return hex.EncodeToString(sum[:passedBytes]) + "-" + t.ID()
}

// passedBytes is how many bytes of the hash of a producer are in the IDs that passedID makes: enough
// that nobody finds another producer with the same ones, and few enough for an ID of 255 bytes.
const passedBytes = 16

func taskID(queue string, seq uint64) string { return queue + "-" + strconv.FormatUint(seq, 10) }

// Header returns the value of the first header with a name, or "" if there is none.
func (t *Task) Header(name string) string {
	for _, p := range t.headers {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// taskContext is the context of a handler: it knows its task and its deadline.
type taskContext struct {
	context.Context //nolint:containedctx // it is a context

	worker   *Worker
	task     *pool.Task
	cancel   context.CancelCauseFunc
	deadline time.Time
	info     Task
}

type taskKey struct{}

// Value implements context.Context.
func (c *taskContext) Value(key any) any {
	if _, ok := key.(taskKey); ok {
		return c
	}
	return c.Context.Value(key)
}

func (c *taskContext) extend(d time.Duration) { c.worker.extend(c.task, d) }

// Deadline implements context.Context.
func (c *taskContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

// TaskOf returns the task that the handler with this context runs. It returns nil
// elsewhere, and for batch handlers, which find their tasks in the items.
func TaskOf(ctx context.Context) *Task {
	if c, ok := ctx.Value(taskKey{}).(*taskContext); ok {
		return &c.info
	}
	return nil
}

// Extend lets the handler with this context run until d from now, if that is later than
// [MaxRun] allows. The lease of the task needs no call: it is extended for as long as the
// handler may run. In a batch, Extend applies to all tasks, or to a single one with the
// context of its [Item].
func Extend(ctx context.Context, d time.Duration) {
	if c, ok := ctx.Value(taskKey{}).(interface{ extend(d time.Duration) }); ok {
		c.extend(d)
	}
}
