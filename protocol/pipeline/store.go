package pipeline

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/internal/wal"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// store keeps a durable queue on disk. Tasks and their events are collected under the
// queue's lock, and one goroutine writes what was collected: the more there is to write,
// the larger the batches. A task is put in line when it is written, and accepted when it
// is synced. The next task of a key is put in line when the end of the one before is
// written or, with SyncEnds, synced.
type store struct {
	queue *Queue
	log   disk
	// wake has a signal when there is something to write.
	wake notify.Flag

	fences *fences
	// numbered is closed once no later run can begin with the fences of this one.
	numbered chan struct{}

	// The queue's lock guards these fields.
	adds   []*entry
	events events
	ended  []*queue.Task
	// nextWorker is the ID of the next worker record.
	nextWorker uint64

	// unmet is set when the disk had no room to record workers that were met.
	unmet atomic.Bool

	// The writer owns these fields until it has ended. full is set once it is logged that the disk
	// is full, and toldFull is when that was.
	full     bool
	toldFull time.Time
	meta     meta
	unwritten

	mu sync.Mutex // guards the fields below
	// writing are the tasks that are being handed to the log; commits are those that are written but
	// not synced, oldest first.
	writing []*entry
	commits []commit
	synced  wal.Position
	frozen  error
}

// unwritten is what the disk had no room for.
type unwritten struct {
	// queued are the records that the disk had no room for; untold are the tasks whose ends are
	// among them.
	queued []wal.Record
	untold []*queue.Task
}

// disk is the part of *wal.Log that a store uses.
type disk interface {
	Append(records ...wal.Record) (wal.Position, error)
	AppendReserved(records ...wal.Record) (wal.Position, error)
	Commit(ctx context.Context, pos wal.Position) error
	RequestCommit(pos wal.Position)
	Stats() wal.Stats
	Recovery() wal.Recovery
	Close() error
}

func openDisk(dir string, opts wal.Options, replay func(wal.Record) error) (disk, error) {
	return wal.Open(dir, opts, replay)
}

// raise reserves the task numbers above seq by writing a new meta record, and ends the old ones.
func (s *store) raise(seq uint64, old []uint64) error {
	next := s.meta
	next.id = s.meta.id + 1
	next.high = seq + seqBlock
	records := []wal.Record{{Kind: recordMeta, ID: next.id, Body: next.append(nil)}}
	for _, id := range old {
		records = append(records, wal.Record{Kind: recordMeta, ID: id, End: true})
	}
	pos, err := s.log.AppendReserved(records...)
	if err != nil {
		return err
	}
	if err := s.log.Commit(context.Background(), pos); err != nil {
		return err
	}
	s.meta = next
	// A queue that spills sends nothing.
	if s.numbered == nil {
		return nil
	}
	if !s.isNumbered() {
		close(s.numbered)
	}
	s.fences.fill()
	return nil
}

// retryEvery is how often the writer retries what a full disk refused.
const retryEvery = 100 * time.Millisecond

// addBytes is about how many bytes are written at once. addRecords bounds how many records of
// events are written at once.
const (
	addBytes   = 1 << 20
	addRecords = 4096
)

// write writes what was collected, until ctx ends and nothing is left that the disk has room for.
func (s *store) write(ctx context.Context) {
	var buf []byte
	var spare events
	for {
		var retry <-chan time.Time
		var timer *time.Timer
		if len(s.queued) > 0 || !s.isNumbered() {
			timer = time.NewTimer(retryEvery)
			retry = timer.C
		}
		select {
		case <-s.wake:
		case <-retry:
		case <-ctx.Done():
		}
		if timer != nil {
			timer.Stop()
		}
		if !s.isNumbered() {
			s.numberLate() //nolint:contextcheck // what is begun is finished
		}
		for {
			adds, ended, now := s.gathered(spare)
			spare = now
			if len(adds)+len(ended)+len(now.records)+len(s.queued) == 0 {
				break
			}
			s.report(&now, ended) //nolint:contextcheck // what is begun is finished
			for len(adds) > 0 {
				n, size := 0, 0
				for n < len(adds) && (n == 0 || size < addBytes) {
					size += len(adds[n].Body)
					n++
				}
				buf = s.begin(buf[:0], adds[:n]) //nolint:contextcheck // what is begun is finished
				adds = adds[n:]
			}
			if len(s.queued) > 0 {
				break
			}
		}
		if ctx.Err() != nil {
			// Queue.finish tells those who wait for what is not written.
			return
		}
	}
}

// gathered returns what is to be written. The next events are collected in spare.
func (s *store) gathered(spare events) (adds []*entry, ended []*queue.Task, now events) {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	adds, ended, now = s.adds, s.ended, s.events
	s.adds, s.ended = nil, nil
	s.events = events{bodies: spare.bodies[:0], records: spare.records[:0], workers: now.workers, clock: now.clock}
	return adds, ended, now
}

// report writes events and then tells those who wait for the ended tasks. What the disk
// has no room for is kept for later.
func (s *store) report(e *events, ended []*queue.Task) {
	// Records are written in order, so new ones go behind those that wait.
	if len(s.queued) > 0 {
		s.queued, s.untold = append(s.queued, e.kept()...), append(s.untold, ended...)
		if !s.writeQueued() {
			return
		}
		ended, s.untold = s.untold, nil
	} else if rest := s.append(e.all()); len(rest) > 0 {
		// The log has ended their IDs already, which lets it make room.
		s.queued, s.untold = cloneRecords(rest), ended
		return
	}
	s.tell(ended)
}

// writeQueued writes the records that had to wait. It reports whether none are left.
func (s *store) writeQueued() bool {
	rest := s.append(s.queued)
	s.queued = slices.Clone(rest)
	return len(rest) == 0
}

// append writes records, and returns those that the disk has no room for.
func (s *store) append(records []wal.Record) []wal.Record {
	for len(records) > 0 {
		n, size := 0, 0
		for n < len(records) && n < addRecords && (n == 0 || size < addBytes) {
			size += len(records[n].Body)
			n++
		}
		pos, err := s.log.AppendReserved(records[:n]...)
		s.tellRoom(err)
		if err == nil && s.queue.set.syncEnds {
			err = s.log.Commit(context.Background(), pos)
		}
		switch {
		case errors.Is(err, wal.ErrNoSpace):
			if kept := s.unmeet(records); len(kept) < len(records) {
				records = kept
				continue
			}
			return records
		case err != nil:
			s.freeze(err)
			return nil
		}
		records = records[n:]
	}
	return nil
}

// tell tells those who wait how tasks have ended, once that is written.
func (s *store) tell(ended []*queue.Task) {
	failure := s.failure()
	if failure != nil {
		// The end may not be on disk, in which case the task is done again.
		for _, t := range ended {
			if e, ok := t.Owner.(*entry); ok {
				e.refuse(failure)
			}
		}
		return
	}
	keyed := false
	for _, t := range ended {
		t.Forget()
		keyed = keyed || t.Key != ""
	}
	settle(ended)
	s.queue.tellDeadOf(ended)
	if !keyed {
		return
	}
	q := s.queue
	q.mu.Lock()
	now := q.clock.now().UnixNano()
	for _, t := range ended {
		q.tasks.Settle(t, now)
	}
	q.unlock()
}

// tellFullEvery limits how often a full disk is logged. A nearly full disk alternates: it has
// room for the ends of tasks, but none for new tasks.
const tellFullEvery = 10 * time.Second

// tellRoom logs once that the disk is full, and once that it has room again.
func (s *store) tellRoom(err error) {
	full := errors.Is(err, wal.ErrNoSpace)
	if full == s.full || err != nil && !full || full && !s.toldFull.IsZero() && time.Since(s.toldFull) < tellFullEvery {
		return
	}
	if s.full = full; full {
		s.toldFull = time.Now()
	}
	log := link.HostOf(s.queue.node).Logger().With("stage", s.queue.route.String(), "folder", s.queue.set.folder)
	if full {
		log.Warn("pipeline: the disk of a durable queue is full: pushes fail, and those who wait are not told that tasks are done, until there is room", "error", err)
		return
	}
	log.Info("pipeline: the disk of a durable queue has room again")
}

func (s *store) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.frozen
}

// freeze stops the queue, since it is no longer known what the disk holds.
func (s *store) freeze(err error) {
	s.mu.Lock()
	first := s.frozen == nil
	log := link.HostOf(s.queue.node).Logger()
	if first {
		s.frozen = link.Errorf(link.DataLoss, "the queue of %s is frozen, and goes on when it is opened again: %w", s.queue.route, err)
	}
	commits := append(s.commits, commit{entries: s.writing})
	s.commits, s.writing = nil, nil
	frozen := s.frozen
	s.mu.Unlock()
	for _, c := range commits {
		s.refuseUnsure(c.entries, frozen)
	}
	if first {
		log.Error("pipeline: a durable queue is frozen: nothing is accepted or told done until it is opened again, on a disk that works",
			"stage", s.queue.route.String(), "folder", s.queue.set.folder, "error", err)
		s.queue.freeze(frozen)
	}
}
