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
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
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

	meta meta // the writer's

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

// The kinds of records; their IDs are the numbers of tasks, except for meta.
const (
	recordTask   = 1
	recordFailed = 2
	recordDead   = 3
	recordEnd    = 4
	recordMeta   = 5
)

// firstMeta is the ID of the first meta record; each replaces the one before.
const firstMeta = 1 << 63

// seqBlock is how many numbers are set aside at once, so that none is used again
// after the records of those before are gone.
const seqBlock = 1 << 20

// fenceStep is how much higher fences are after each start, at the least.
const fenceStep = 1 << 42

// meta is what a folder says of its queue.
type meta struct {
	id    uint64
	queue string
	route string
	fence uint64
	high  uint64 // numbers up to this may have been used
}

func (m *meta) append(b []byte) []byte {
	b = frame.AppendBytes(frame.AppendBytes(b, m.queue), m.route)
	return frame.AppendUint(frame.AppendUint(b, m.fence), m.high)
}

func (m *meta) parse(b []byte) error {
	id, b, ok := frame.CutBytes(b)
	route, b, ok2 := frame.CutBytes(b)
	fence, b, ok3 := frame.CutUint(b)
	high, _, ok4 := frame.CutUint(b)
	if !ok || !ok2 || !ok3 || !ok4 {
		return frame.ErrMalformed
	}
	m.queue, m.route, m.fence, m.high = string(id), string(route), fence, high
	return nil
}

// events is what the queue's engine says of tasks, as records. It is its Log.
type events struct {
	bodies  []byte
	records []event
}

type event struct {
	kind     byte
	seq      uint64
	from, to int // of bodies
}

func (e *events) add(kind byte, seq uint64, from int) {
	e.records = append(e.records, event{kind, seq, from, len(e.bodies)})
}

// Failed implements queue.Log.
func (e *events) Failed(t *queue.Task) {
	from := len(e.bodies)
	e.bodies = frame.AppendUint(e.bodies, uint64(t.NotBefore))
	e.bodies = appendHistory(e.bodies, t.History[len(t.History)-1:])
	e.add(recordFailed, t.Seq, from)
}

// Ended implements queue.Log.
func (e *events) Ended(t *queue.Task) { e.add(recordEnd, t.Seq, len(e.bodies)) }

// Dead implements queue.Log.
func (e *events) Dead(t *queue.Task) {
	from := len(e.bodies)
	e.bodies = frame.AppendBytes(frame.AppendUint(e.bodies, uint64(time.Now().UnixNano())), t.Cause)
	e.bodies = appendHistory(e.bodies, t.History)
	e.add(recordDead, t.Seq, from)
}

// Buried implements queue.Log.
func (e *events) Buried(seq uint64) { e.add(recordEnd, seq, len(e.bodies)) }

func (e *events) all() []wal.Record {
	out := make([]wal.Record, len(e.records))
	for i, r := range e.records {
		out[i] = wal.Record{Kind: r.kind, End: r.kind == recordEnd, ID: r.seq, Body: e.bodies[r.from:r.to]}
	}
	return out
}

func appendHistory(b []byte, history []queue.Attempt) []byte {
	b = frame.AppendUint(b, uint64(len(history)))
	for _, a := range history {
		counted := uint64(0)
		if a.Counted {
			counted = 1
		}
		b = frame.AppendBytes(frame.AppendBytes(b, a.Worker), a.Cause)
		b = frame.AppendUint(frame.AppendUint(frame.AppendUint(b, uint64(a.Began)), uint64(a.Ended)), counted)
	}
	return b
}

func cutHistory(b []byte) ([]queue.Attempt, bool) {
	n, b, ok := frame.CutUint(b)
	if !ok || n > 1000 {
		return nil, false
	}
	var out []queue.Attempt
	for range n {
		worker, rest, ok := frame.CutBytes(b)
		cause, rest, ok2 := frame.CutBytes(rest)
		began, rest, ok3 := frame.CutUint(rest)
		ended, rest, ok4 := frame.CutUint(rest)
		counted, rest, ok5 := frame.CutUint(rest)
		if !ok || !ok2 || !ok3 || !ok4 || !ok5 {
			return nil, false
		}
		b = rest
		out = append(out, queue.Attempt{Worker: string(worker), Cause: string(cause), Began: int64(began), Ended: int64(ended), Counted: counted == 1})
	}
	return out, true
}

func appendTask(b []byte, t *queue.Task) []byte {
	b = append(b, t.Priority)
	for _, at := range [...]int64{t.Added, t.NotBefore, t.Expires, t.Deadline} {
		b = frame.AppendUint(b, uint64(at))
	}
	b = frame.AppendBytes(b, t.Tenant)
	return append(b, t.Body...)
}

func parseTask(b []byte) (*entry, error) {
	e := &entry{}
	t := &e.Task
	if len(b) == 0 {
		return nil, frame.ErrMalformed
	}
	t.Priority, b = b[0], b[1:]
	for _, at := range [...]*int64{&t.Added, &t.NotBefore, &t.Expires, &t.Deadline} {
		v, rest, ok := frame.CutUint(b)
		if !ok {
			return nil, frame.ErrMalformed
		}
		*at, b = int64(v), rest
	}
	tenant, b, ok := frame.CutBytes(b)
	if !ok {
		return nil, frame.ErrMalformed
	}
	t.Tenant, t.Body = string(tenant), slices.Clone(b)
	body, err := frame.ParseBody(t.Body)
	if err != nil {
		return nil, err
	}
	t.Key, t.ID, t.Owner = body.Key, body.ID, e
	return e, nil
}

// restored is what a folder holds.
type restored struct {
	tasks map[uint64]*entry
	dead  map[uint64]int64 // when those of tasks that are dead letters became that
	meta  meta
	metas []uint64
}

// replay takes in one record.
func (r *restored) replay(rec wal.Record) error {
	bad := func() error {
		return fmt.Errorf("record of kind %d at %d, of task %d, is not as this version writes it", rec.Kind, rec.Pos, rec.ID)
	}
	switch rec.Kind {
	case recordTask:
		e, err := parseTask(rec.Body)
		if err != nil {
			return bad()
		}
		e.Seq = rec.ID
		if old := r.tasks[rec.ID]; old != nil { // what failed may stand before a copy of the task
			e.Attempts, e.History, e.NotBefore, e.Cause = old.Attempts, old.History, old.NotBefore, old.Cause
		}
		r.tasks[rec.ID] = e
	case recordFailed:
		at, rest, ok := frame.CutUint(rec.Body)
		history, ok2 := cutHistory(rest)
		if !ok || !ok2 || len(history) != 1 {
			return bad()
		}
		e := r.entry(rec.ID)
		e.Attempts++
		e.History = append(e.History, history...)
		e.NotBefore = max(e.NotBefore, int64(at))
		e.Cause = history[0].Cause
	case recordDead:
		at, rest, ok := frame.CutUint(rec.Body)
		cause, rest, ok2 := frame.CutBytes(rest)
		history, ok3 := cutHistory(rest)
		if !ok || !ok2 || !ok3 {
			return bad()
		}
		e := r.entry(rec.ID)
		e.Cause, e.History = string(cause), history
		r.dead[rec.ID] = int64(at)
	case recordEnd:
		delete(r.tasks, rec.ID)
		delete(r.dead, rec.ID)
	case recordMeta:
		if rec.End {
			return nil
		}
		r.metas = append(r.metas, rec.ID)
		if rec.ID >= r.meta.id {
			r.meta.id = rec.ID
			if r.meta.parse(rec.Body) != nil {
				return bad()
			}
		}
	}
	return nil
}

func (r *restored) entry(id uint64) *entry {
	e := r.tasks[id]
	if e == nil {
		e = &entry{}
		r.tasks[id] = e
	}
	return e
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
	log, err := open(dir, wal.Options{OnDurable: s.durable}, found.replay)
	if err != nil {
		code := link.FailedPrecondition
		if _, ok := errors.AsType[*wal.DamageError](err); ok {
			code = link.DataLoss
		}
		return nil, link.Errorf(code, "the folder of %s: %w", q.route, err)
	}
	fail := func(err error) (*store, error) {
		return nil, errors.Join(err, log.Close())
	}
	s.log = log
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
	first := s.meta.high
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
		e.owner = q
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
		switch {
		case errors.Is(err, wal.ErrNoSpace): // their IDs have ended for the log, which makes room
			if s.pause(ctx) {
				continue
			}
			return // those who wait are told by Close
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
		settle(ended)
		return
	}
	for _, t := range ended { // it is not known on disk, and is done again
		if e, ok := t.Owner.(*entry); ok {
			e.refuse(failure)
		}
	}
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
		s.queue.freeze(frozen)
	}
}
