package pipeline

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/linkmesh/link/internal/wal"
)

// restoreWorkers has the queue await the workers that may have tasks of it.
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

// introduce writes that a worker may have tasks from now on: a queue that is opened again
// asks it first what it runs. On a full disk that has to wait, because the queue is to be
// drained all the same.
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

// meetLocked has a worker that gets tasks now written down, before what happens to them, if
// it is not: the queue may just have given up waiting for it. On a full disk it is for meet
// to do. The queue's lock is held.
func (s *store) meetLocked(worker string) {
	if _, known := s.events.workers[worker]; known || s.unmet.Load() {
		return
	}
	s.events.meet(worker, s.nextWorker)
	s.nextWorker++
	s.wakeLocked()
}

// meet has the workers written down that were met on a full disk, and are here still.
func (s *store) meet() {
	if !s.unmet.Swap(false) {
		return
	}
	q := s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range q.links {
		if l.worker != nil {
			s.meetLocked(l.id)
		}
	}
}

// unmeet returns records without those of workers that were met, for which the disk has no
// room: those that tasks have ended must not wait for them.
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
