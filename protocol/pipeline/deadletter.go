package pipeline

import (
	"context"
	"slices"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// DeadLetter is a task that failed for good.
type DeadLetter struct {
	ID     string
	Key    string
	Tenant string
	// Payload is the task as the node's codec encoded it.
	Payload []byte
	// Attempts counts the attempts that failed.
	Attempts int
	// Cause says why the last attempt failed.
	Cause string
	// Time is when the task became a dead letter.
	Time time.Time
	// History lists the deliveries, oldest first. It has at most 32.
	History []Attempt
}

func deadLetter(q *Queue, t *queue.Task, at time.Time) DeadLetter {
	// The queue encoded the body itself, so it parses.
	body, _ := frame.ParseBody(t.Body)
	return DeadLetter{
		ID: taskID(q.id, t.Seq), Key: t.Key, Tenant: t.Tenant, Payload: slices.Clone(body.Payload),
		Attempts: t.Attempts, Cause: t.Cause, Time: at, History: history(t.History),
	}
}

// DeadLetters returns the dead letters that the queue keeps, oldest first.
func (q *Queue) DeadLetters() []DeadLetter {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []DeadLetter
	for t, at := range q.tasks.Dead {
		out = append(out, deadLetter(q, t, time.Unix(0, at)))
	}
	return out
}

// Redrive pushes the dead letters that match again, as new tasks with no attempts used,
// and waits for room for each until ctx ends. A nil match matches all of them. It
// returns how many were pushed; the others stay dead letters.
func (q *Queue) Redrive(ctx context.Context, match func(DeadLetter) bool) (int, error) {
	n := 0
	for _, d := range q.DeadLetters() {
		if match != nil && !match(d) {
			continue
		}
		q.mu.Lock()
		taken := q.tasks.TakeDead(func(t *queue.Task) bool { return taskID(q.id, t.Seq) == d.ID }, 1)
		q.mu.Unlock()
		if len(taken) == 0 {
			// A concurrent call took it.
			continue
		}
		old := taken[0]
		e := &entry{owner: q}
		e.Task = queue.Task{Body: old.Body, Key: old.Key, ID: old.ID, Tenant: old.Tenant, Priority: old.Priority, Owner: e}
		if _, err := q.add(ctx, e, true); err != nil {
			q.mu.Lock()
			q.tasks.RestoreDead(old, d.Time.UnixNano(), q.clock.now().UnixNano())
			q.unlock()
			return n, err
		}
		q.mu.Lock()
		q.tasks.Bury(old)
		q.unlock()
		n++
	}
	return n, nil
}

// Purge forgets the dead letters that match and returns how many. A nil match matches
// all of them.
func (q *Queue) Purge(match func(DeadLetter) bool) int {
	q.mu.Lock()
	defer q.unlock()
	taken := q.tasks.TakeDead(func(t *queue.Task) bool { return match == nil || match(deadLetter(q, t, time.Time{})) }, -1)
	for _, t := range taken {
		q.tasks.Bury(t)
	}
	return len(taken)
}

// Cancel ends the task with this ID as [Future.Cancel] does. The error is NotFound if
// the queue has no such task, which may have ended.
func (q *Queue) Cancel(id string) error {
	seq, ok := q.seqOf(id)
	if !ok || !q.cancel(seq) {
		return link.Errorf(link.NotFound, "the queue of %s has no task %q", q.route, id)
	}
	return nil
}
