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
// [Returned]. If the disk takes only some of them, those are [Unfinished.Kept], the oldest, and
// the others are the caller's. It takes nothing on disk before, and saves nothing of a producer that is
// killed. It has no effect on a queue that is durable.
func Spill(folder string) QueueOption {
	return queueOption(func(s *queueSettings) { s.spill = folder })
}

// spill writes tasks of a queue in memory into the folder of a durable one, with numbers
// of that one. It returns how many of them are on the disk, the first ones, and behind these how
// many may be.
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
	case s.meta.id == 0: // the queue goes on as it was: workers know its tasks by these numbers
		first, number = 0, func(i int) uint64 { return tasks[i].Seq }
		s.meta = meta{id: firstMeta, queue: q.id, route: q.route.String(), fence: q.fence}
		records = q.workerRecords() // before the tasks, which nobody else is to begin while these run them
	case s.meta.route != q.route.String():
		return 0, 0, link.Errorf(link.FailedPrecondition, "closing the queue of %s: the folder %s holds tasks of %s", q.route, q.set.spill, s.meta.route)
	}
	if err := s.raise(first+number(len(tasks)-1), found.metas); err != nil {
		return 0, 0, link.Errorf(link.FailedPrecondition, "closing the queue of %s: %w", q.route, err)
	}
	var end wal.Position
	written, tried := 0, 0
	for written < len(tasks) && err == nil { // a segment of the log does not hold all that a queue may
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
	if _, frozen := errors.AsType[*wal.FrozenError](err); frozen { // what was handed to the disk may be there
		mayBe = tried - kept
	}
	return kept, mayBe, link.Errorf(link.DataLoss, "closing the queue of %s: %d of %d tasks were not spilled: %w", q.route, len(tasks)-kept, len(tasks), err)
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
