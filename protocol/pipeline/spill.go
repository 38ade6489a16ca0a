package pipeline

import (
	"context"
	"errors"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/wal"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// Spill keeps what a queue in memory has not finished when it is closed, in folder,
// where a queue that is [Durable] there goes on with it: a worker may have begun some of
// these tasks, as [Unfinished.Begun] says, and does them again then. Their futures end as
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
	found := restored{tasks: make(map[uint64]*entry), dead: make(map[uint64]int64)}
	log, err := openDisk(q.set.spill, wal.Options{}, found.replay)
	if err != nil {
		return link.Errorf(link.FailedPrecondition, "closing the queue of %s: the folder to spill to: %w", q.route, err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	s := &store{queue: q, log: log, meta: found.meta}
	switch {
	case s.meta.id == 0:
		s.meta = meta{id: firstMeta, queue: q.id, route: q.route.String(), fence: q.fence}
	case s.meta.route != q.route.String():
		return link.Errorf(link.FailedPrecondition, "closing the queue of %s: the folder %s holds tasks of %s", q.route, q.set.spill, s.meta.route)
	}
	first := max(s.meta.high, found.high)
	records := make([]wal.Record, len(tasks))
	for i, t := range tasks {
		records[i] = wal.Record{Kind: recordTask, ID: first + 1 + uint64(i), Body: appendTask(nil, t)}
	}
	if err := s.raise(first+uint64(len(tasks)), found.metas); err != nil {
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
