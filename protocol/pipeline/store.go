package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/wal"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// store is what keeps a durable queue on disk. Tasks and what happens to them are
// gathered under the queue's lock, and one goroutine writes what has gathered: the
// more there is to write, the more goes at once. A task is put in line when it is
// written, and accepted when it is synced.
type store struct {
	queue *Queue
	log   disk
	mode  Mode
	kick  chan struct{} // holds a token when there is something to write

	// The queue's lock guards these.
	adds   []*entry
	events events
	ended  []*queue.Task

	// The writer's, until it has ended.
	full   bool // the log was told so
	meta   meta
	untold []*queue.Task // have ended, and the disk had no room to say so

	mu      sync.Mutex // guards the fields below
	commits []commit   // tasks that are written and not synced, oldest first
	frozen  error
}

// disk is what a store needs of a log, which is a *wal.Log.
type disk interface {
	Append(records ...wal.Record) (wal.Position, error)
	Commit(ctx context.Context, pos wal.Position) error
	RequestCommit(pos wal.Position)
	Stats() wal.Stats
	Recovery() wal.Recovery
	Close() error
}

func openDisk(dir string, opts wal.Options, replay func(wal.Record) error) (disk, error) {
	return wal.Open(dir, opts, replay)
}

// commit is tasks that are accepted when the log is durable up to a position.
type commit struct {
	pos     wal.Position
	entries []*entry
}

// openStore opens the folder of a queue, and puts what it holds in the queue. The
// queue has not been used yet.
func openStore(q *Queue, dir string, mode Mode) (*store, error) {
	s := &store{queue: q, mode: mode, kick: make(chan struct{}, 1)}
	found := restored{tasks: make(map[uint64]*entry), dead: make(map[uint64]int64)}
	open := openDisk
	if q.set.disk != nil {
		open = q.set.disk
	}
	log, err := open(dir, wal.Options{OnDurable: s.durable, Salvage: q.set.salvage}, found.replay)
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
		q.node.Logger().Warn("pipeline: a durable queue was opened and is not as it was written: an unfinished write at its end was cut off, or damage was skipped",
			"stage", q.route.String(), "file", r.TruncatedFile, "cut_off", r.Truncated, "skipped", r.Skipped, "regions", r.Regions)
	}
	if found.meta.id != 0 && found.meta.route != q.route.String() {
		return fail(link.Errorf(link.FailedPrecondition, "the folder %s holds tasks of %s, not of %s", dir, found.meta.route, q.route))
	}
	now := time.Now().UnixNano()
	s.meta = found.meta
	if s.meta.id == 0 {
		s.meta = meta{id: firstMeta, queue: q.id, route: q.route.String()}
	}
	s.meta.fence = max(uint64(now), s.meta.fence+fenceStep)
	q.id, q.fence = s.meta.queue, s.meta.fence
	first := max(s.meta.high, found.high)
	if q.set.salvage {
		first += seqBlock // numbers may have been used of which nothing is left
	}
	seqs := make([]uint64, 0, len(found.tasks))
	for seq := range found.tasks {
		seqs = append(seqs, seq)
		first = max(first, seq)
	}
	slices.Sort(seqs)
	set := q.set.queue
	set.Log, set.FirstSeq = &s.events, first
	q.tasks = queue.New(set)
	for _, seq := range seqs {
		e := found.tasks[seq]
		if e.Body == nil { // its task record was damaged, and the folder opened all the same
			continue
		}
		e.owner, e.wanted = q, 1 // by who pushed it in an earlier run
		if at, ok := found.dead[seq]; ok {
			q.tasks.RestoreDead(&e.Task, at)
			continue
		}
		q.tasks.Restore(&e.Task, now)
	}
	s.meta.high = first
	if err := s.raise(first, found.metas); err != nil {
		return fail(link.Errorf(link.FailedPrecondition, "the folder of %s: %w", q.route, err))
	}
	return s, nil
}

// raise sets numbers above seq aside.
func (s *store) raise(seq uint64, old []uint64) error {
	next := s.meta
	next.id = s.meta.id + 1
	next.high = seq + seqBlock
	records := []wal.Record{{Kind: recordMeta, ID: next.id, Body: next.append(nil)}}
	for _, id := range old {
		records = append(records, wal.Record{Kind: recordMeta, ID: id, End: true})
	}
	pos, err := s.log.Append(records...)
	if err != nil {
		return err
	}
	if err := s.log.Commit(context.Background(), pos); err != nil {
		return err
	}
	s.meta = next
	return nil
}

// wakeLocked makes the writer look. The queue's lock is held.
func (s *store) wakeLocked() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// retryEvery is how soon what a full disk refused is written again.
const retryEvery = 100 * time.Millisecond

// addBytes is about how many bytes of tasks are written at once.
const addBytes = 1 << 20

// write writes what gathers, until ctx ends and nothing is left.
func (s *store) write(ctx context.Context) {
	q := s.queue
	var buf []byte
	var spare events
	for {
		select {
		case <-s.kick:
		case <-ctx.Done():
		}
		for {
			q.mu.Lock()
			adds, ended := s.adds, s.ended
			s.adds, s.ended = nil, nil
			now := s.events
			s.events = spare
			s.events.bodies, s.events.records = s.events.bodies[:0], s.events.records[:0]
			q.mu.Unlock()
			if len(adds)+len(ended)+len(now.records) == 0 {
				spare = now
				break
			}
			s.report(ctx, &now, ended)
			for len(adds) > 0 {
				n, size := 0, 0
				for n < len(adds) && (n == 0 || size < addBytes) {
					size += len(adds[n].Body)
					n++
				}
				buf = s.begin(buf[:0], adds[:n]) //nolint:contextcheck // what is begun is finished
				adds = adds[n:]
			}
			spare = now
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// report writes what happened to tasks, and then tells those who wait for it.
func (s *store) report(ctx context.Context, e *events, ended []*queue.Task) {
	for records := e.all(); len(records) > 0; {
		n := min(len(records), 4096)
		pos, err := s.log.Append(records[:n]...)
		s.tellRoom(err)
		switch {
		case errors.Is(err, wal.ErrNoSpace): // their IDs have ended for the log, which makes room
			if s.pause(ctx) {
				continue
			}
			s.untold = append(s.untold, ended...) // those who wait are told by Close
			return
		case err != nil:
			s.freeze(err)
		case s.mode == EveryTask:
			if err := s.log.Commit(context.WithoutCancel(ctx), pos); err != nil {
				s.freeze(err)
			}
		}
		records = records[n:]
	}
	failure := s.failure()
	if failure == nil {
		for _, t := range ended {
			t.Forget()
		}
		settle(ended)
		return
	}
	for _, t := range ended { // it is not known on disk, and is done again
		if e, ok := t.Owner.(*entry); ok {
			e.refuse(failure)
		}
	}
}

// tellRoom logs that the disk is full, and that it is not any more, once each.
func (s *store) tellRoom(err error) {
	full := errors.Is(err, wal.ErrNoSpace)
	if full == s.full || err != nil && !full {
		return
	}
	s.full = full
	log := s.queue.node.Logger().With("stage", s.queue.route.String(), "folder", s.queue.set.folder)
	if full {
		log.Warn("pipeline: the disk of a durable queue is full: pushes fail, and who waits is not told that tasks are done, until there is room", "error", err)
		return
	}
	log.Info("pipeline: the disk of a durable queue has room again")
}

// pause waits until a full disk is to be tried again; it reports whether it is.
func (s *store) pause(ctx context.Context) bool {
	t := time.NewTimer(retryEvery)
	defer t.Stop()
	select {
	case <-t.C:
		return s.failure() == nil
	case <-ctx.Done():
		return false
	}
}

// begin writes tasks and puts them in line. What the disk has no room for is
// refused.
func (s *store) begin(buf []byte, adds []*entry) []byte {
	q := s.queue
	err := s.failure()
	if last := adds[len(adds)-1].Seq; err == nil && last > s.meta.high {
		err = s.raise(last, []uint64{s.meta.id})
	}
	var pos wal.Position
	if err == nil {
		records := make([]wal.Record, len(adds))
		ends := make([]int, len(adds))
		for i, e := range adds {
			buf = appendTask(buf, &e.Task)
			ends[i] = len(buf)
		}
		from := 0
		for i, e := range adds {
			records[i] = wal.Record{Kind: recordTask, ID: e.Seq, Body: buf[from:ends[i]]}
			from = ends[i]
		}
		pos, err = s.log.Append(records...)
		s.tellRoom(err)
	}
	if err != nil {
		if _, ok := errors.AsType[*wal.FrozenError](err); ok {
			s.freeze(err)
		}
		q.mu.Lock()
		for _, e := range adds {
			q.tasks.Withdraw(&e.Task)
		}
		q.unlock()
		for _, e := range adds {
			e.refuse(link.Errorf(link.ResourceExhausted, "push to %s: the task was not written: %w", q.route, err))
		}
		return buf
	}
	s.mu.Lock()
	s.commits = append(s.commits, commit{pos, adds})
	s.mu.Unlock()
	s.log.RequestCommit(pos)
	q.mu.Lock()
	now := time.Now().UnixNano()
	for _, e := range adds {
		q.tasks.Start(&e.Task, now)
	}
	q.unlock()
	return buf
}

// durable is told by the log how far it is on the disk.
func (s *store) durable(pos wal.Position, err error) {
	if err != nil {
		s.freeze(err)
		return
	}
	s.mu.Lock()
	n := 0
	for n < len(s.commits) && s.commits[n].pos <= pos {
		n++
	}
	done := slices.Clone(s.commits[:n])
	s.commits = append(s.commits[:0], s.commits[n:]...)
	s.mu.Unlock()
	for _, c := range done {
		for _, e := range c.entries {
			e.accept()
		}
	}
}

func (s *store) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.frozen
}

// freeze stops the queue: what the disk holds cannot be told any more.
func (s *store) freeze(err error) {
	s.mu.Lock()
	first := s.frozen == nil
	log := s.queue.node.Logger()
	if first {
		s.frozen = link.Errorf(link.DataLoss, "the queue of %s is frozen, and goes on when it is opened again: %w", s.queue.route, err)
	}
	commits := s.commits
	s.commits = nil
	frozen := s.frozen
	s.mu.Unlock()
	for _, c := range commits {
		for _, e := range c.entries {
			e.refuse(frozen)
		}
	}
	if first {
		log.Error("pipeline: a durable queue is frozen: nothing is accepted or told done until it is opened again, on a disk that works",
			"stage", s.queue.route.String(), "folder", s.queue.set.folder, "error", err)
		s.queue.freeze(frozen)
	}
}
