package pipeline

import (
	"context"
	"errors"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/wal"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// Spill keeps what a queue in memory has not finished when it is closed, in folder,
// where a queue that is [Durable] there goes on with it. A worker may have begun some of
// these tasks, as [Unfinished.Begun] says. In a folder of its own the queue is the same
// to workers, which are asked what they run; beside tasks of another queue these are new
// ones, and may be done twice. Their futures end as
// [Returned]. It takes nothing on disk before, and saves nothing of a producer that is
// killed. It has no effect on a queue that is durable.
func Spill(folder string) QueueOption {
	return queueOption(func(s *queueSettings) { s.spill = folder })
}

// spill writes tasks of a queue in memory into the folder of a durable one, with numbers
// of that one.
func (q *Queue) spill(tasks []*queue.Task) (err error) {
	if len(tasks) == 0 {
		return nil
	}
	found := newRestored()
	log, err := openDisk(q.set.spill, wal.Options{}, found.replay)
	if err != nil {
		return link.Errorf(link.FailedPrecondition, "closing the queue of %s: the folder to spill to: %w", q.route, err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	s := &store{queue: q, log: log, meta: found.meta}
	first, number := max(s.meta.high, found.high), func(i int) uint64 { return uint64(i) + 1 }
	switch {
	case s.meta.id == 0: // the queue goes on as it was: workers know its tasks by these numbers
		first, number = 0, func(i int) uint64 { return tasks[i].Seq }
		s.meta = meta{id: firstMeta, queue: q.id, route: q.route.String(), fence: q.fence}
	case s.meta.route != q.route.String():
		return link.Errorf(link.FailedPrecondition, "closing the queue of %s: the folder %s holds tasks of %s", q.route, q.set.spill, s.meta.route)
	}
	records := make([]wal.Record, 0, len(tasks))
	for i, t := range tasks {
		records = append(records, wal.Record{Kind: recordTask, ID: first + number(i), Body: appendTask(nil, t)})
	}
	if first == 0 {
		records = append(records, q.workerRecords()...)
	}
	if err := s.raise(first+number(len(tasks)-1), found.metas); err != nil {
		return link.Errorf(link.FailedPrecondition, "closing the queue of %s: %w", q.route, err)
	}
	pos, err := log.Append(records...)
	if err == nil {
		err = log.Commit(context.Background(), pos)
	}
	if err != nil {
		return link.Errorf(link.DataLoss, "closing the queue of %s: %d tasks were not spilled: %w", q.route, len(tasks), err)
	}
	return nil
}

// workerRecords are those of the workers that may have tasks of the queue.
func (q *Queue) workerRecords() []wal.Record {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []wal.Record
	for id := range q.links {
		out = append(out, wal.Record{Kind: recordWorker, ID: (firstWorker | q.fence) + uint64(len(out)), Body: []byte(id)})
	}
	return out
}
