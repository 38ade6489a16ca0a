package pool

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/table"
)

// Why a producer is not taken.
var (
	ErrTooMany = errors.New("the identity has too many queues here")
	ErrFenced  = errors.New("a later run of the queue was here already")
)

// Source is one producer's queue. The other fields are the pool's.
type Source struct {
	Owner any // the caller's

	key       string
	of        *peer
	ready     chan struct{}
	connected bool
	lostAt    int64
	own       bool
	fence     uint64

	pending int // tasks that wait at the producer
	window  int // as it was told last
	told    bool
	wish    int // as it is to be told
	allow   int // what it may have used of windows before
	shrunk  int64
	held    table.Table[Task]
	bytes   int64
	queue   places
	again   []done // are to be written again, and not in out yet
	out     []byte // outcomes to be written
	writing int    // bytes of those that are being written
	echoed  int    // bytes of these that answer what the producer should not have sent
	cache   cache

	trip    [8]int64 // the last round trips
	trips   int
	pinged  int64
	pingDue bool
	asked   bool  // a round trip is being measured
	alive   int64 // when the producer was last told what is here

	line node[*Source] // in its group's ring, while it has queued tasks
}

// Ready holds a token when there is something to write.
func (s *Source) Ready() <-chan struct{} { return s.ready }

func (s *Source) wake() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// Hello is what a producer says first on a stream.
type Hello struct {
	From        share.Key
	Queue       string
	Fence       uint64
	Held        []uint64
	First, Last uint64 // it asks about these numbers as well, if Last is not 0
	Own         bool   // it is of the worker's own node: a drain serves it to the end
}

// Answer is what the worker knows of the tasks that it was asked about; the outcomes of those
// that are done are to be written again.
type Answer struct {
	Unknown []uint64
	Running []uint64 // number and delivery of each, in turn
}

// Join takes in a producer's stream, and answers for the tasks that it asks about. The
// error is ErrTooMany or ErrFenced.
func (p *Pool) Join(in Hello, now int64) (*Source, Answer, error) {
	fence, held := in.Fence, in.Held
	key := in.From.Name + " " + in.Queue
	if in.From.Place != "" { // a name that is free is another one elsewhere
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
	if in.Fence < s.fence { // what is left of a process that was killed must not displace the one after it
		return nil, Answer{}, ErrFenced
	}
	if s.connected { // an older stream, of which we have not heard that it has ended
		p.Leave(s, s.ready, now, now)
	}
	s.ready = make(chan struct{}, 1)
	s.connected, s.fence, s.own = true, fence, in.Own
	s.window, s.wish, s.told, s.pending = 0, 0, false, 0
	s.unwrite()
	s.alive, s.pingDue = now, true
	var answer Answer
	slices.Sort(held)
	held = slices.Compact(held) // each is answered for once
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
	s.wake()
	return s, answer, nil
}

// findAgain makes tasks that a producer asks about its own again whose handlers run on
// since it was lost.
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

// runningOf lists number and delivery of a source's tasks in a range whose handlers run.
func (p *Pool) runningOf(s *Source, first, last uint64) []uint64 {
	var out []uint64
	for t := p.running.head; t != nil && len(out) < frame.MaxList; t = t.run.next {
		if t.Source == s && t.state == stateRunning && first <= t.Seq && t.Seq <= last {
			out = append(out, t.Seq, t.delivery)
		}
	}
	return out
}

// done is a task whose outcome is to be written again.
type done struct{ seq, delivery uint64 }

// askDone has it written again that tasks in a range were done, as far as the cache knows it;
// those that are held were answered for.
func (s *Source) askDone(first, last uint64, held []uint64, now int64, window time.Duration) {
	for _, page := range s.cache.pages {
		if page == nil {
			continue
		}
		for i := range page {
			e := &page[i]
			if e.verb != frame.Ack && e.verb != frame.Result || e.seq < first || e.seq > last || now-e.at >= int64(window) {
				continue
			}
			if _, ok := slices.BinarySearch(held, e.seq); ok {
				continue
			}
			s.again = append(s.again, done{e.seq, e.delivery})
		}
	}
}

// sayAgain adds some of the outcomes that are to be written again, up to AgainBytes and the last
// of them. The others are copied when the producer has read these: a HELLO costs a few bytes, and
// may ask for all that is kept. One that is kept no longer is given back.
func (s *Source) sayAgain(now int64, window time.Duration) {
	for n := 0; len(s.again) > 0 && n < AgainBytes; {
		before := len(s.out)
		d := s.again[0]
		o := frame.Outcome{Verb: frame.Release, Seq: d.seq, Delivery: d.delivery, Data: []byte("its outcome is not known any more")}
		if e := s.cache.get(d.seq, now, window); e != nil {
			o = e.outcome(d.delivery)
		}
		s.append(&o)
		n += len(s.out) - before
		s.again = s.again[1:]
	}
	if len(s.again) == 0 {
		s.again = nil
	}
}

// Leave notes that a stream of a producer has ended, the one whose Ready it was, and when
// the producer was heard of last.
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

// drop takes a task that has not begun out of the pool.
func (p *Pool) drop(t *Task) {
	p.dequeue(t)
	t.state = stateGone
	p.free(t)
}

// free gives back the room that a task has.
func (p *Pool) free(t *Task) {
	s := t.Source
	s.held.Remove(t.Seq)
	s.bytes -= int64(len(t.Body))
	s.of.bytes.Give(int64(len(t.Body)))
}

// dequeue takes a task out of its source's queue.
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

// maxShared is the longest frame that the tasks in it keep here together until the last of
// them is done. Those of honest producers are no longer, but for one long task.
const maxShared = 256 << 10

// Receive takes in the body of a TASKS frame, which the pool keeps, and which began to come at a
// time: with little credit long ago, and the time that tasks have left is counted from then. The
// error is that of a body that is malformed.
func (p *Pool) Receive(s *Source, body []byte, since, now int64) error {
	var rec frame.Task
	whole := len(body)
	block := make([]Task, 0, min(len(body)/64+1, 256)) // tasks that arrive together share one block
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
		if whole > maxShared && 2*len(rec.Body) < whole { // it would keep all of the frame here
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

// allowed is how many tasks the producer may have begun to send at a time in good faith.
func (s *Source) allowed(at int64) int {
	if s.overread() {
		return 0
	}
	if at-s.shrunk < shrinkTime {
		return max(s.window, s.allow)
	}
	return s.window
}

// repeated deals with a task that is here, or was.
func (p *Pool) repeated(s *Source, rec *frame.Task, now int64) bool {
	if t := s.held.Get(rec.Seq); t != nil {
		t.delivery, t.Attempt = rec.Delivery, rec.Attempt // its outcome is for the newest delivery
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

// echo is say for an answer that a producer can have as often as it likes.
func (p *Pool) echo(s *Source, o *frame.Outcome) {
	if s.Flooded() {
		return
	}
	before := len(s.out)
	p.say(s, o)
	s.echoed += len(s.out) - before
}

// Flooded reports whether the producer has sent much that it should not have, and reads
// no answers. Those that follow are not given.
func (s *Source) Flooded() bool { return s.echoed > MaxEcho }

// say adds an outcome to what is to be written.
func (p *Pool) say(s *Source, o *frame.Outcome) {
	if !s.connected {
		return
	}
	if len(s.out) == 0 {
		s.wake()
	}
	s.append(o)
}

// overread reports whether so much waits to be read by a producer, or by all of its peer,
// that no more tasks of it are done.
func (s *Source) overread() bool {
	return len(s.out)+s.writing > MaxUnread || s.of.unread > PeerUnread
}

// write returns what is to be written. It is unread until the next time.
func (s *Source) write(buf []byte) []byte {
	out := s.out
	s.of.unread -= int64(s.writing)
	s.writing = len(out)
	s.out, s.echoed = buf[:0], 0
	return out
}

// append adds an outcome to what is to be written.
func (s *Source) append(o *frame.Outcome) {
	before := len(s.out)
	s.out = o.Append(s.out)
	s.of.unread += int64(len(s.out) - before)
}

// unwrite forgets what is to be written.
func (s *Source) unwrite() {
	s.of.unread -= int64(len(s.out) + s.writing)
	s.out, s.writing, s.echoed, s.again = nil, 0, 0, nil
}
