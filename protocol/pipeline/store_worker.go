package pipeline

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/linkmesh/link/internal/wal"
)

// restoreWorkers makes the queue await the workers that may hold its tasks.
func (s *store) restoreWorkers(found *restored, now int64) {
	s.events.workers = make(map[string]uint64, len(found.workers))
	s.nextWorker = firstWorker | s.meta.fence
	for id, worker := range found.workers {
		if twice, ok := s.events.workers[worker]; ok {
			s.events.end(recordWorker, twice)
		}
		s.events.workers[worker] = id
		s.nextWorker = max(s.nextWorker, id+1)
	}
	s.queue.tasks.Await(slices.Collect(maps.Keys(s.events.workers)), now)
}

// introduce records that a worker may hold tasks from now on: a queue that is opened again
// first asks it what it runs. On a full disk the record is postponed, because it must still be
// possible to drain the queue.
func (s *store) introduce(ctx context.Context, worker string) error {
	q := s.queue
	q.mu.Lock()
	_, known := s.events.workers[worker]
	id := s.nextWorker
	if !known {
		s.nextWorker++
	}
	q.mu.Unlock()
	if known {
		return nil
	}
	pos, err := s.log.AppendReserved(wal.Record{Kind: recordWorker, ID: id, Body: []byte(worker)})
	if errors.Is(err, wal.ErrNoSpace) {
		s.unmet.Store(true)
		return nil
	}
	if err == nil {
		err = s.log.Commit(ctx, pos)
	}
	if err == nil {
		q.mu.Lock()
		s.events.workers[worker] = id
		q.mu.Unlock()
	}
	return err
}

// meetLocked records a worker that is about to get tasks, before the events of these tasks, unless
// it is recorded already: the queue may just have given up waiting for it. On a full disk this is
// left to meet. The queue's lock is held.
func (s *store) meetLocked(worker string) {
	if _, known := s.events.workers[worker]; known || s.unmet.Load() {
		return
	}
	s.events.meet(worker, s.nextWorker)
	s.nextWorker++
	s.wake.Set()
}

// meet records the workers that were met on a full disk and are still connected.
func (s *store) meet() {
	if !s.unmet.Swap(false) {
		return
	}
	q := s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	for l := range q.workers.All() {
		if l.worker != nil {
			s.meetLocked(l.ID)
		}
	}
}

// unmeet returns records without those of newly met workers, when the disk has no room: the
// records of the ends of tasks must not wait for them. It leaves the workers to meet.
func (s *store) unmeet(records []wal.Record) []wal.Record {
	met := func(r wal.Record) bool { return r.Kind == recordWorker && !r.End }
	if !slices.ContainsFunc(records, met) {
		return records
	}
	s.unmet.Store(true)
	q := s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.DeleteFunc(records, func(r wal.Record) bool {
		if met(r) && s.events.workers[string(r.Body)] == r.ID {
			delete(s.events.workers, string(r.Body))
		}
		return met(r)
	})
}
