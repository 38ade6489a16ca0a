package pool

import (
	"bytes"
	"errors"
	"slices"

	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/table"
)

// Why a producer is not taken.
var (
	ErrTooMany = errors.New("the identity has too many queues here")
	ErrFenced  = errors.New("a later run of the queue was here already")
)

// Source is one queue of a producer. Owner belongs to the caller, the other fields to the pool.
type Source struct {
	Owner any

	key       string
	of        *peer
	ready     notify.Flag
	connected bool
	lostAt    int64
	own       bool
	fence     uint64

	pending int // tasks that wait at the producer
	allowance
	held  table.Table[Task]
	bytes int64
	queue places
	// again is to be appended to out, the outcomes to be written. writing are the bytes that are being written,
	// and echoed the bytes in out that answer what the producer should not have sent.
	again   []done
	out     []byte
	writing int
	echoed  int
	cache   cache

	pulse

	line node[*Source] // in its group's ring, while it has queued tasks
}

// allowance is how many tasks a producer may send.
type allowance struct {
	// window was last sent, wish is to be sent, and allow bounds what the producer may have used of earlier windows.
	window int
	told   bool
	wish   int
	allow  int
	shrunk int64
}

// pulse is how far away a producer is, and when it was last heard and told.
type pulse struct {
	// trip has the last round trips. asked is set while one is being measured.
	trip    [8]int64
	trips   int
	pinged  int64
	pingDue bool
	asked   bool
	// alive is when the producer was last told what is here.
	alive int64
}

// Ready returns a channel that holds a token when there is something to write. Each stream has its own.
func (s *Source) Ready() <-chan struct{} { return s.ready }

// Hello is what a producer says first on a stream. If Last is not 0, it also asks about First to Last. Own is set
// if it is of the worker's own node, so that a drain serves it to the end.
type Hello struct {
	From        share.Key
	Queue       string
	Fence       uint64
	Held        []uint64
	First, Last uint64
	Own         bool
}

// Answer is what the worker knows about the tasks that it was asked about. The outcomes of those that are done
// are written again. Running has the number and the delivery of each running task, in turn.
type Answer struct {
	Unknown []uint64
	Running []uint64
}

// Join adds a producer's stream and answers for the tasks that it asks about. The error is ErrTooMany or ErrFenced.
func (p *Pool) Join(in Hello, now int64) (*Source, Answer, error) {
	fence, held := in.Fence, in.Held
	key := in.From.Name + " " + in.Queue
	// A name that is not proven is a different one at each place.
	if in.From.Place != "" {
		key = in.From.Place + " " + key
	}
	s := p.sources[key]
	if s == nil {
		of, err := p.peerOf(in.From)
		if err != nil {
			return nil, Answer{}, err
		}
		s = &Source{key: key, of: of, queue: places{queue: true}}
		s.line.value = s
		p.sources[key] = s
	}
	// A late stream of a killed process must not displace the one of its successor.
	if in.Fence < s.fence {
		return nil, Answer{}, ErrFenced
	}
	// The end of an older stream may not be known yet.
	if s.connected {
		p.Leave(s, s.ready, now, now)
	}
	s.ready = notify.NewFlag()
	s.connected, s.fence, s.own = true, fence, in.Own
	s.window, s.wish, s.told, s.pending = 0, 0, false, 0
	s.unwrite()
	s.alive, s.pingDue = now, true
	var answer Answer
	slices.Sort(held)
	held = slices.Compact(held)
	asked := func(seq uint64) bool {
		_, ok := slices.BinarySearch(held, seq)
		return ok || in.Last != 0 && in.First <= seq && seq <= in.Last
	}
	p.findAgain(s, asked)
	for _, seq := range held {
		if s.held.Get(seq) != nil {
			continue
		}
		if e := s.cache.get(seq, now, p.opts.CacheTime); e != nil {
			s.again = append(s.again, done{seq, e.delivery})
			continue
		}
		answer.Unknown = append(answer.Unknown, seq)
	}
	if in.Last != 0 {
		answer.Running = p.runningOf(s, in.First, in.Last)
		s.askDone(in.First, in.Last, held, now, p.opts.CacheTime)
	}
	p.reshare(now)
	s.ready.Set()
	return s, answer, nil
}

// findAgain holds tasks again that the producer asks about and whose handlers still run since it was lost.
func (p *Pool) findAgain(s *Source, asked func(seq uint64) bool) {
	for t := p.running.head; t != nil; t = t.run.next {
		if t.Source == s && t.lost && t.state == stateGone && asked(t.Seq) && s.held.Get(t.Seq) == nil {
			t.lost, t.state = false, stateRunning
			s.held.Put(t.Seq, t)
			s.bytes += int64(len(t.Body))
			s.of.bytes.Add(int64(len(t.Body)))
		}
	}
}

// runningOf lists the number and the delivery of each running task of a source in a range.
func (p *Pool) runningOf(s *Source, first, last uint64) []uint64 {
	var out []uint64
	for t := p.running.head; t != nil && len(out) < frame.MaxList; t = t.run.next {
		if t.Source == s && t.state == stateRunning && first <= t.Seq && t.Seq <= last {
			out = append(out, t.Seq, t.delivery)
		}
	}
	return out
}

// Leave notes that the stream with this Ready has ended, and when the producer was last heard from.
func (p *Pool) Leave(s *Source, ready <-chan struct{}, heard, now int64) {
	if s.ready != ready || !s.connected {
		return
	}
	s.connected, s.lostAt = false, heard
	for t := s.queue.head; t != nil; t = s.queue.head {
		p.drop(t)
	}
	s.unwrite()
	p.reshare(now)
}

// drop removes a task that has not begun from the pool.
func (p *Pool) drop(t *Task) {
	p.dequeue(t)
	t.state = stateGone
	p.free(t)
}

// free gives back the room of a task.
func (p *Pool) free(t *Task) {
	s := t.Source
	s.held.Remove(t.Seq)
	s.bytes -= int64(len(t.Body))
	s.of.bytes.Give(int64(len(t.Body)))
}

// dequeue removes a task from its source's queue.
func (p *Pool) dequeue(t *Task) {
	s := t.Source
	s.queue.remove(t)
	p.queued--
	if s.queue.n > 0 {
		return
	}
	g := s.of.group
	if s.line.leave(&g.turn); g.turn == nil {
		g.line.leave(&p.turn)
	}
}

func (p *Pool) enqueue(t *Task) {
	s := t.Source
	s.queue.push(t)
	p.queued++
	if s.queue.n > 1 {
		return
	}
	g := s.of.group
	first := g.turn == nil
	if s.line.enter(&g.turn); first {
		g.line.enter(&p.turn)
	}
}

// maxShared is the longest frame that its tasks keep in memory until the last one is done. Tasks that are less than
// half of a longer frame are copied. Honest producers send longer frames only for one long task.
const maxShared = 256 << 10

// Receive takes the body of a TASKS frame, which the pool keeps. since is when the frame began to arrive, which may
// be long ago with little credit; the times that tasks have left count from then. The error is frame.ErrMalformed.
func (p *Pool) Receive(s *Source, body []byte, since, now int64) error {
	var rec frame.Task
	whole := len(body)
	block := make([]Task, 0, min(len(body)/64+1, 256))
	for len(body) > 0 {
		rest, err := rec.Cut(body)
		if err != nil {
			return err
		}
		body = rest
		if p.repeated(s, &rec, now) {
			continue
		}
		if len(block) == cap(block) {
			block = make([]Task, 0, 256)
		}
		if whole > maxShared && 2*len(rec.Body) < whole {
			rec.Body = bytes.Clone(rec.Body)
		}
		block = append(block, Task{
			Source: s, Seq: rec.Seq, Attempt: rec.Attempt, Fence: s.fence + rec.Fence, Body: rec.Body,
			Deadline: at(since, int64(rec.Left)), start: at(since, int64(rec.Start)), delivery: rec.Delivery, arrived: now,
		})
		t := &block[len(block)-1]
		if s.pending > 0 {
			s.pending--
		}
		if p.leaves(s) || s.held.Len() >= s.allowed(since) || s.bytes > p.opts.HeldBytes || s.of.bytes.Take(int64(len(t.Body))) != nil {
			p.echo(s, &frame.Outcome{Verb: frame.Release, Seq: t.Seq, Delivery: t.delivery, Data: []byte("there is no room for it")})
			p.stats.Released++
			continue
		}
		s.held.Put(t.Seq, t)
		s.bytes += int64(len(t.Body))
		p.enqueue(t)
	}
	return nil
}

func at(now, left int64) int64 {
	if left < 0 {
		return 0
	}
	return now + left
}

// allowed returns how many tasks a correct producer may have here, if it began to send the last one at a time.
func (s *Source) allowed(at int64) int {
	if s.overread() {
		return 0
	}
	if at-s.shrunk < shrinkTime {
		return max(s.window, s.allow)
	}
	return s.window
}

// repeated handles a task that is here or was done here, and reports whether it is one.
func (p *Pool) repeated(s *Source, rec *frame.Task, now int64) bool {
	if t := s.held.Get(rec.Seq); t != nil {
		// The outcome is for the newest delivery.
		t.delivery, t.Attempt = rec.Delivery, rec.Attempt
		p.stats.Repeated++
		return true
	}
	e := s.cache.get(rec.Seq, now, p.opts.CacheTime)
	if e == nil || e.verb != frame.Ack && e.verb != frame.Result {
		return false
	}
	o := e.outcome(rec.Delivery)
	p.echo(s, &o)
	p.stats.Repeated++
	return true
}
