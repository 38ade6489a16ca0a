package pipeline

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/internal/wal"
	"github.com/linkmesh/link/protocol/pipeline/internal/pool"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// reserve is how many bytes of the disk a queue reserves for what it must still write when the
// disk is full: that tasks have ended. It is enough for 40,000 tasks.
const reserve = 1 << 20

// openStore opens the folder of a queue and restores its contents to the queue, which
// must not have been used yet.
func openStore(q *Queue, dir string) (*store, error) {
	s := &store{queue: q, wake: notify.NewFlag(), numbered: make(chan struct{}), events: events{clock: q.clock}}
	found := newRestored()
	open := openDisk
	if q.set.disk != nil {
		open = q.set.disk
	}
	log, err := open(dir, wal.Options{OnDurable: s.durable, Salvage: q.set.salvage, Reserve: reserve}, found.replay)
	if err != nil {
		code := link.FailedPrecondition
		if _, ok := errors.AsType[*wal.DamageError](err); ok {
			code = link.DataLoss
			err = fmt.Errorf("%w: that is the option pipeline.Salvage", err)
		}
		return nil, link.Errorf(code, "the folder of %s: %w", q.route, err)
	}
	fail := func(err error) (*store, error) {
		return nil, errors.Join(err, log.Close())
	}
	s.log = log
	if r := log.Recovery(); r.Truncated > 0 || r.Regions > 0 {
		link.HostOf(q.node).Logger().Warn("pipeline: a durable queue was opened and is not as it was written: an unfinished write at its end was cut off, or damage was skipped",
			"stage", q.route.String(), "file", r.TruncatedFile, "cut_off", r.Truncated, "skipped", r.Skipped, "regions", r.Regions)
	}
	if found.meta.id != 0 && found.meta.route != q.route.String() {
		return fail(link.Errorf(link.FailedPrecondition, "the folder %s holds tasks of %s, not of %s", dir, found.meta.route, q.route))
	}
	s.fences = openFences(dir)
	s.restore(found)
	if err := s.number(found); err != nil {
		return fail(link.Errorf(link.FailedPrecondition, "the folder of %s: %w", q.route, err))
	}
	return s, nil
}

// restore restores the contents of a folder to the queue.
func (s *store) restore(found *restored) {
	q := s.queue
	now := q.clock.now().UnixNano()
	s.meta = found.meta
	if s.meta.id == 0 {
		s.meta = meta{id: firstMeta, queue: q.id, route: q.route.String()}
	}
	s.meta.fence = max(q.fence, s.fences.next(s.meta.fence))
	q.id, q.fence = s.meta.queue, s.meta.fence
	first := max(s.meta.high, found.high)
	if q.set.salvage {
		// Numbers may have been used that left no trace.
		first += seqBlock
	}
	// Workers keep outcomes in a ring by number. The next tasks must take the places of the
	// oldest outcomes, as if no numbers had been skipped.
	first += (found.high - first) % pool.CacheCount
	s.meta.high = first
	set := q.set.queue
	set.Log, set.FirstSeq = &s.events, first
	q.tasks = queue.New(set)
	s.restoreWorkers(found, now)
	s.restoreDone(found, now)
	for _, seq := range slices.Sorted(maps.Keys(found.tasks)) {
		e := found.tasks[seq]
		if e.Body == nil {
			// The record of the task was damaged, and the folder was opened anyway.
			continue
		}
		// The push of the earlier run counts as wanting the task.
		e.owner, e.wanted = q, 1
		if at, ok := found.dead[seq]; ok {
			// Those who push its ID again find that it has ended.
			e.ended = true
			q.tasks.RestoreDead(&e.Task, at, now)
			continue
		}
		q.tasks.Restore(&e.Task, now)
	}
}

// restoreDone makes the queue remember the IDs of tasks that were done. If such a task is
// still there, a crash came before its end was written.
func (s *store) restoreDone(found *restored, now int64) {
	done := slices.SortedFunc(maps.Values(found.done), func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.Added, b.Added), cmp.Compare(a.Seq, b.Seq))
	})
	for _, e := range done {
		e.owner = s.queue
		if found.tasks[e.Seq] != nil {
			delete(found.tasks, e.Seq)
			s.events.end(recordEnd, e.Seq)
		}
		if !s.queue.tasks.Remember(&e.Task, now) {
			s.events.Forgot(&e.Task)
		}
	}
}
