package pipeline

import (
	"context"
	"errors"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/wal"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// Spill makes a queue in memory write its unfinished tasks to folder when it is closed. A
// queue that is [Durable] there continues with them. A worker may have begun some of these
// tasks, as [Unfinished.Begun] says. In a folder of its own, the queue stays the same to
// workers, which are asked what they run. In the folder of another queue, the tasks are new
// ones and may be done twice. Their futures end as [EndReturned]. If the disk takes only some
// of the tasks, these are the oldest, with [Unfinished.Kept] set, and the others are left to
// the caller. Spill writes nothing before the queue is closed, so it saves nothing of a
// producer that is killed. It has no effect on a durable queue.
func Spill(folder string) QueueOption {
	return queueOption(func(s *queueSettings) { s.spill = folder })
}

// spill writes tasks of a queue in memory to the folder of a durable one, with numbers of the
// durable one. The first kept tasks are on disk, and the mayBe tasks after them may be.
func (q *Queue) spill(tasks []*queue.Task) (kept, mayBe int, err error) {
	if len(tasks) == 0 {
		return 0, 0, nil
	}
	found := newRestored()
	open := openDisk
	if q.set.disk != nil {
		open = q.set.disk
	}
	log, err := open(q.set.spill, wal.Options{}, found.replay)
	if err != nil {
		return 0, 0, link.Errorf(link.FailedPrecondition, "closing the queue of %s: the folder to spill to: %w", q.route, err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	s := &store{queue: q, log: log, meta: found.meta}
	first, number := max(s.meta.high, found.high), func(i int) uint64 { return uint64(i) + 1 }
	var records []wal.Record
	switch {
	case s.meta.id == 0:
		// The queue continues as it was: workers know its tasks by their numbers.
		first, number = 0, func(i int) uint64 { return tasks[i].Seq }
		s.meta = meta{id: firstMeta, queue: q.id, route: q.route.String(), fence: q.fence}
		// The workers come before the tasks, which nobody else may begin while these workers run them.
		records = q.workerRecords()
	case s.meta.route != q.route.String():
		return 0, 0, link.Errorf(link.FailedPrecondition, "closing the queue of %s: the folder %s holds tasks of %s", q.route, q.set.spill, s.meta.route)
	}
	if err := s.raise(first+number(len(tasks)-1), found.metas); err != nil {
		return 0, 0, link.Errorf(link.FailedPrecondition, "closing the queue of %s: %w", q.route, err)
	}
	var end wal.Position
	written, tried := 0, 0
	// A queue may hold more than fits in one segment of the log.
	for written < len(tasks) && err == nil {
		size := 0
		for tried = written; tried < len(tasks) && (tried == written || size < addBytes); tried++ {
			body := appendTask(nil, tasks[tried])
			size += len(body)
			records = append(records, wal.Record{Kind: recordTask, ID: first + number(tried), Body: body})
		}
		var pos wal.Position
		if pos, err = log.Append(records...); err == nil {
			written, end = tried, pos
		}
		records = records[:0]
	}
	if written > 0 {
		if failed := log.Commit(context.Background(), end); failed == nil {
			kept = written
		} else {
			err = errors.Join(err, failed)
		}
	}
	if err == nil {
		return kept, 0, nil
	}
	// What was handed to a disk that failed may be there.
	if _, frozen := errors.AsType[*wal.FrozenError](err); frozen {
		mayBe = tried - kept
	}
	return kept, mayBe, link.Errorf(link.DataLoss, "closing the queue of %s: %d of %d tasks were not spilled: %w", q.route, len(tasks)-kept, len(tasks), err)
}

// workerRecords returns records of the workers that may hold tasks of the queue.
func (q *Queue) workerRecords() []wal.Record {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []wal.Record
	for l := range q.workers.All() {
		out = append(out, wal.Record{Kind: recordWorker, ID: (firstWorker | q.fence) + uint64(len(out)), Body: []byte(l.ID)})
	}
	return out
}
