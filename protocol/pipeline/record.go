package pipeline

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/linkmesh/link/internal/wal"
	"github.com/linkmesh/link/protocol/internal/varint"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// The kinds of records. The ID of a record is the number of a task, except for the last three kinds.
const (
	recordTask   = 1
	recordFailed = 2
	recordDead   = 3
	recordEnd    = 4
	recordMeta   = 5
	// recordWorker names a worker that may hold tasks. It is ended when the worker holds none any more.
	recordWorker = 6
	// recordDone is an acked task with an ID. It is ended when the ID is forgotten.
	recordDone = 7
)

// The bases of the IDs of records that are not about tasks. The numbers of tasks are below all of them.
const (
	firstWorker = 1 << 62
	// firstMeta is the base of meta records. Each record replaces the one before and has the next ID.
	firstMeta = 1 << 63
	// firstDone is combined with the number of the task.
	firstDone = 1<<63 | 1<<62
)

// seqBlock is how many task numbers are reserved at once, so that no number is used again
// after the records of earlier tasks are gone.
const seqBlock = 1 << 20

// fenceStep is the least by which the fence base grows with each start.
const fenceStep = 1 << 42

// meta is what a folder says about its queue.
type meta struct {
	id    uint64
	queue string
	route string
	fence uint64
	// high is the highest task number that may have been used.
	high uint64
}

func (m *meta) append(b []byte) []byte {
	b = varint.AppendBytes(varint.AppendBytes(b, m.queue), m.route)
	return varint.Append(varint.Append(b, m.fence), m.high)
}

func (m *meta) parse(b []byte) error {
	id, b, ok := varint.CutBytes(b)
	route, b, ok2 := varint.CutBytes(b)
	fence, b, ok3 := varint.Cut(b)
	high, _, ok4 := varint.Cut(b)
	if !ok || !ok2 || !ok3 || !ok4 {
		return frame.ErrMalformed
	}
	m.queue, m.route, m.fence, m.high = string(id), string(route), fence, high
	return nil
}

// events collects what the queue's engine reports about tasks, as records. It implements queue.Log.
type events struct {
	bodies  []byte
	records []event
	// workers maps workers to the IDs of their records. It is shared with the next events, as is the clock.
	workers map[string]uint64
	clock   clock
}

type event struct {
	kind byte
	end  bool
	id   uint64
	// from and to delimit the body in events.bodies.
	from, to int
}

func (e *events) add(kind byte, id uint64, from int) {
	e.records = append(e.records, event{kind, kind == recordEnd, id, from, len(e.bodies)})
}

func (e *events) end(kind byte, id uint64) {
	e.records = append(e.records, event{kind, true, id, 0, 0})
}

// Failed implements queue.Log.
func (e *events) Failed(t *queue.Task) {
	from := len(e.bodies)
	e.bodies = varint.Append(e.bodies, uint64(t.NotBefore))
	e.bodies = appendHistory(e.bodies, t.History[len(t.History)-1:])
	e.add(recordFailed, t.Seq, from)
}

// Ended implements queue.Log. If a task with an ID was acked, the record of that comes before its
// end: after a crash between the two, the task is known to be done.
func (e *events) Ended(t *queue.Task) {
	if t.Remembered() {
		from := len(e.bodies)
		e.bodies = appendDone(e.bodies, t)
		e.add(recordDone, firstDone|t.Seq, from)
	}
	e.end(recordEnd, t.Seq)
}

// Forgot implements queue.Log.
func (e *events) Forgot(t *queue.Task) { e.end(recordDone, firstDone|t.Seq) }

// meet records, with this record ID, that a worker may hold tasks.
func (e *events) meet(worker string, id uint64) {
	from := len(e.bodies)
	e.bodies = append(e.bodies, worker...)
	e.workers[worker] = id
	e.add(recordWorker, id, from)
}

// Gone implements queue.Log.
func (e *events) Gone(worker string) {
	if id, ok := e.workers[worker]; ok {
		delete(e.workers, worker)
		e.end(recordWorker, id)
	}
}

// Dead implements queue.Log.
func (e *events) Dead(t *queue.Task) {
	from := len(e.bodies)
	e.bodies = varint.Append(varint.Append(e.bodies, uint64(e.clock.now().UnixNano())), uint64(t.Attempts))
	e.bodies = varint.AppendBytes(e.bodies, t.Cause)
	e.bodies = appendHistory(e.bodies, t.History)
	e.add(recordDead, t.Seq, from)
}

// Buried implements queue.Log.
func (e *events) Buried(seq uint64) { e.end(recordEnd, seq) }

func (e *events) all() []wal.Record {
	out := make([]wal.Record, len(e.records))
	for i, r := range e.records {
		out[i] = wal.Record{Kind: r.kind, End: r.end, ID: r.id, Body: e.bodies[r.from:r.to]}
	}
	return out
}

// kept returns the records as all does, but shares no memory with the events.
func (e *events) kept() []wal.Record { return cloneRecords(e.all()) }

func cloneRecords(records []wal.Record) []wal.Record {
	out := slices.Clone(records)
	for i := range out {
		out[i].Body = slices.Clone(out[i].Body)
	}
	return out
}

func appendDone(b []byte, t *queue.Task) []byte {
	b = varint.Append(varint.Append(b, uint64(t.Added)), uint64(t.Attempts))
	b = varint.AppendBytes(varint.AppendBytes(b, t.ID), t.Worker)
	hasResult := uint64(0)
	if t.Result != nil {
		hasResult = 1
	}
	return varint.AppendBytes(varint.Append(b, hasResult), t.Result)
}

func parseDone(b []byte) (*entry, error) {
	added, b, ok := varint.Cut(b)
	attempts, b, ok2 := varint.Cut(b)
	id, b, ok3 := varint.CutBytes(b)
	worker, b, ok4 := varint.CutBytes(b)
	hasResult, b, ok5 := varint.Cut(b)
	result, _, ok6 := varint.CutBytes(b)
	if !ok || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 {
		return nil, frame.ErrMalformed
	}
	e := &entry{ended: true}
	e.Added, e.Attempts, e.ID, e.Worker, e.Owner = int64(added), int(attempts), string(id), string(worker), e
	if hasResult == 1 {
		e.Result = append([]byte{}, result...)
	}
	return e, nil
}

func appendHistory(b []byte, history []queue.Attempt) []byte {
	b = varint.Append(b, uint64(len(history)))
	for _, a := range history {
		counted := uint64(0)
		if a.Counted {
			counted = 1
		}
		b = varint.AppendBytes(varint.AppendBytes(b, a.Worker), a.Cause)
		b = varint.Append(varint.Append(varint.Append(b, uint64(a.Began)), uint64(a.Ended)), counted)
	}
	return b
}

func cutHistory(b []byte) ([]queue.Attempt, bool) {
	n, b, ok := varint.Cut(b)
	if !ok || n > 1000 {
		return nil, false
	}
	var out []queue.Attempt
	for range n {
		worker, rest, ok := varint.CutBytes(b)
		cause, rest, ok2 := varint.CutBytes(rest)
		began, rest, ok3 := varint.Cut(rest)
		ended, rest, ok4 := varint.Cut(rest)
		counted, rest, ok5 := varint.Cut(rest)
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
		b = varint.Append(b, uint64(at))
	}
	b = varint.AppendBytes(b, t.Tenant)
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
		v, rest, ok := varint.Cut(b)
		if !ok {
			return nil, frame.ErrMalformed
		}
		*at, b = int64(v), rest
	}
	tenant, b, ok := varint.CutBytes(b)
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
	// dead maps the tasks that are dead letters to when they became that.
	dead map[uint64]int64
	// done holds the tasks that are remembered by their IDs, by the IDs of their records.
	done map[uint64]*entry
	// workers is keyed by the IDs of their records.
	workers map[uint64]string
	meta    meta
	metas   []uint64
	// high is the highest number of a task, ended or not.
	high uint64
}

func newRestored() *restored {
	return &restored{
		tasks: make(map[uint64]*entry), dead: make(map[uint64]int64), done: make(map[uint64]*entry), workers: make(map[uint64]string),
	}
}

// replay applies one record.
func (r *restored) replay(rec wal.Record) error {
	bad := func() error {
		return fmt.Errorf("record of kind %d at %d, of task %d, is not as this version writes it", rec.Kind, rec.Pos, rec.ID)
	}
	if number := rec.ID &^ uint64(firstDone); rec.Kind != recordMeta && rec.Kind != recordWorker {
		r.high = max(r.high, number)
	}
	switch rec.Kind {
	case recordTask:
		e, err := parseTask(rec.Body)
		if err != nil {
			return bad()
		}
		e.Seq = rec.ID
		// Records of failed attempts may come before a copy of the task.
		if old := r.tasks[rec.ID]; old != nil {
			e.Attempts, e.History, e.NotBefore, e.Cause = old.Attempts, old.History, old.NotBefore, old.Cause
		}
		r.tasks[rec.ID] = e
	case recordFailed:
		at, rest, ok := varint.Cut(rec.Body)
		history, ok2 := cutHistory(rest)
		if !ok || !ok2 || len(history) != 1 {
			return bad()
		}
		if r.dead[rec.ID] != 0 {
			// This is a copy, and the record of the dead letter has all of it.
			return nil
		}
		e := r.entry(rec.ID)
		e.Attempts++
		e.History = append(e.History, history...)
		// Copies come last in the log, out of order.
		slices.SortStableFunc(e.History, func(a, b queue.Attempt) int { return cmp.Compare(a.Ended, b.Ended) })
		e.NotBefore = max(e.NotBefore, int64(at))
		e.Cause = e.History[len(e.History)-1].Cause
	case recordDead:
		at, rest, ok := varint.Cut(rec.Body)
		attempts, rest, ok2 := varint.Cut(rest)
		cause, rest, ok3 := varint.CutBytes(rest)
		history, ok4 := cutHistory(rest)
		if !ok || !ok2 || !ok3 || !ok4 {
			return bad()
		}
		e := r.entry(rec.ID)
		e.Attempts, e.Cause, e.History = int(attempts), string(cause), history
		r.dead[rec.ID] = int64(at)
	case recordEnd:
		delete(r.tasks, rec.ID)
		delete(r.dead, rec.ID)
	case recordDone:
		if rec.End {
			delete(r.done, rec.ID)
			return nil
		}
		e, err := parseDone(rec.Body)
		if err != nil {
			return bad()
		}
		e.Seq = rec.ID &^ uint64(firstDone)
		r.done[rec.ID] = e
	case recordWorker:
		if r.workers[rec.ID] = string(rec.Body); rec.End {
			delete(r.workers, rec.ID)
		}
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
