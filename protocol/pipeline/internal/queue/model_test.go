package queue_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/pool"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// model is producers and workers, the real engines of both, with streams between
// them that a script delays and cuts. It holds them to what a pipeline promises.
type model struct {
	seed    uint64
	rand    *rand.Rand
	now     int64
	queues  []*producer
	workers []*worker
	wires   []*wire
	calm    bool // no more faults
	nextID  int
	facts   facts
	trace   []string
}

// facts are what the runs of a test came to, so that it can be seen that they were
// about something.
type facts struct {
	ends                                         [queue.Returned + 1]int
	cuts, kills, runs, reruns, recalls, restarts int
}

type producer struct {
	name  string
	q     *queue.Queue
	log   *journal
	fence uint64
	tasks map[uint64]*task // by number
}

type task struct {
	end      queue.End
	ends     int
	starts   int
	acks     int // handlers that came to an ack
	fence    uint64
	delivery uint64
	key      string
}

type worker struct {
	name   string
	pool   *pool.Pool
	epoch  uint64
	slow   int64
	frozen bool
	runs   []*run
	dead   bool
}

type run struct {
	tasks    []*pool.Task
	until    int64
	verb     frame.Verb
	canceled bool
	deaf     bool // it ignores that it was canceled
}

// wire is the stream between a producer and a worker.
type wire struct {
	p     *producer
	w     *worker
	up    bool
	src   *pool.Source
	dst   *queue.Worker
	ready <-chan struct{}
	// Frames under way, in order.
	down, back []message
	joining    int // 1: HELLO is under way, 2: WELCOME is
	held       []uint64
	unknown    []uint64
	most       int // the largest window that it was granted since it came up
}

type message struct {
	at   int64
	kind byte
	body []byte
	list []uint64
	a, b uint64
}

func newModel(seed uint64) *model {
	m := &model{seed: seed, rand: rand.New(rand.NewPCG(seed, 1)), now: int64(time.Hour)}
	for i := range 1 + m.rand.IntN(3) {
		p := &producer{name: fmt.Sprint("p", i), tasks: make(map[uint64]*task), log: &journal{}}
		p.q = queue.New(m.options(p))
		m.queues = append(m.queues, p)
	}
	for range 1 + m.rand.IntN(4) {
		m.hire()
	}
	return m
}

func (m *model) options(p *producer) queue.Options {
	return queue.Options{FirstSeq: p.log.last, MaxTasks: 200, Rand: m.rand, Log: p.log, Grace: 5 * time.Second}
}

func (m *model) hire() {
	m.nextID++
	w := &worker{name: fmt.Sprint("w", m.nextID), epoch: uint64(m.nextID)}
	opts := pool.Options{Slots: 1 + m.rand.IntN(4), MaxRun: time.Minute}
	if m.rand.IntN(4) == 0 {
		opts.Batch, opts.Linger = 1+m.rand.IntN(4), time.Duration(m.rand.IntN(50))*time.Millisecond
	}
	w.pool = pool.New(opts)
	w.slow = 1
	if m.rand.IntN(4) == 0 {
		w.slow = 20
	}
	m.workers = append(m.workers, w)
	for _, p := range m.queues {
		m.wires = append(m.wires, &wire{p: p, w: w})
	}
}

func (m *model) chance(n int) bool { return m.rand.IntN(n) == 0 }

// step lets one thing happen.
func (m *model) step() {
	m.now += m.rand.Int64N(int64(3 * time.Millisecond))
	if m.chance(50) {
		m.now += m.rand.Int64N(int64(2 * time.Second))
	}
	p := m.queues[m.rand.IntN(len(m.queues))]
	switch m.rand.IntN(20) {
	case 0, 1, 2, 3:
		m.add(p)
	case 4:
		if n := len(p.tasks); n > 0 && m.chance(4) {
			p.q.Cancel(1+m.rand.Uint64N(uint64(n)+1), m.now)
		}
	case 5, 6:
		p.q.Tick(m.now)
	case 7:
		w := m.workers[m.rand.IntN(len(m.workers))]
		m.tick(w)
	case 8:
		m.fault()
	case 9:
		if m.chance(20) {
			for _, dead := range p.q.TakeDead(func(*queue.Task) bool { return m.chance(2) }, 3) {
				m.push(p, &queue.Task{Body: dead.Body, Key: dead.Key})
				p.q.Bury(dead)
			}
		}
	default:
		m.wire(m.wires[m.rand.IntN(len(m.wires))])
	}
	m.work(m.workers[m.rand.IntN(len(m.workers))])
	m.settle()
}

func (m *model) add(p *producer) {
	t := &queue.Task{Body: append([]byte{0}, bytes.Repeat([]byte{1}, m.rand.IntN(50))...)}
	t.Priority = uint8(m.rand.IntN(10))
	if m.chance(3) {
		t.Key = string(rune('a' + m.rand.IntN(5)))
	}
	if m.chance(3) {
		t.Tenant = string(rune('a' + m.rand.IntN(3)))
	}
	if m.chance(8) {
		t.NotBefore = m.now + m.rand.Int64N(int64(time.Second))
	}
	if m.chance(8) {
		t.Expires = m.now + m.rand.Int64N(int64(time.Second))
	}
	if m.chance(8) {
		t.Deadline = m.now + m.rand.Int64N(int64(10*time.Second))
	}
	if m.chance(5) {
		t.ID = fmt.Sprint("id", m.rand.IntN(1000))
	}
	m.push(p, t)
}

func (m *model) push(p *producer, t *queue.Task) {
	got, err := p.q.Reserve(t, m.now)
	if err != nil || got != t {
		return
	}
	if m.chance(50) { // the disk refused it
		p.q.Withdraw(t)
		return
	}
	p.log.add(t)
	p.tasks[t.Seq] = &task{key: t.Key}
	if m.chance(50) {
		p.q.Cancel(t.Seq, m.now)
	}
	p.q.Start(t, m.now)
}

func (m *model) fault() {
	if m.calm {
		return
	}
	switch m.rand.IntN(8) {
	case 0, 1, 2:
		c := m.wires[m.rand.IntN(len(m.wires))]
		m.cut(c, false)
	case 3:
		w := m.workers[m.rand.IntN(len(m.workers))]
		w.frozen = !w.frozen
	case 4:
		if m.chance(5) {
			m.kill(m.rand.IntN(len(m.workers)))
			m.hire()
		}
	case 5:
		if m.chance(10) {
			m.workers[m.rand.IntN(len(m.workers))].pool.Drain(m.now)
		}
	case 6:
		if m.chance(10) {
			m.restart(m.queues[m.rand.IntN(len(m.queues))])
		}
	}
}

func (m *model) kill(i int) {
	m.facts.kills++
	w := m.workers[i]
	w.dead = true
	var left []*wire
	for _, c := range m.wires {
		if c.w == w {
			m.cut(c, false)
		} else {
			left = append(left, c)
		}
	}
	m.wires = left
	m.workers = append(m.workers[:i], m.workers[i+1:]...)
}

// restart makes a queue anew from what its log says.
func (m *model) restart(p *producer) {
	m.facts.restarts++
	for _, c := range m.wires {
		if c.p == p {
			m.cut(c, false)
			c.dst = nil
		}
	}
	m.settle()
	p.fence += 1 << 40
	p.q = queue.New(m.options(p))
	p.log.restore(p.q, m.now)
}

func (m *model) cut(c *wire, clean bool) {
	if c.joining == 0 && !c.up {
		return
	}
	m.facts.cuts++
	c.down, c.back = nil, nil
	if c.src != nil {
		c.w.pool.Leave(c.src, c.ready, m.now)
	}
	if c.dst != nil && c.up {
		c.p.q.Disconnect(c.dst, clean, m.now)
	}
	c.up, c.joining, c.src, c.most = false, 0, nil, 0
}

// wire lets one frame pass, or the stream come up.
func (m *model) wire(c *wire) {
	if c.w.frozen {
		if c.up && m.chance(300) { // the transport gives it up
			m.cut(c, false)
		}
		return
	}
	delay := m.now + m.rand.Int64N(int64(4*time.Millisecond))
	switch {
	case c.up:
		m.exchange(c, delay)
	case c.joining == 0:
		if c.w.pool.Draining() || !m.chance(3) {
			return
		}
		c.held, c.joining = c.p.q.Held(c.w.name), 1
	case c.joining == 1:
		var err error
		if c.src, c.unknown, err = c.w.pool.Join("peer", c.p.name, c.p.fence, c.held, m.now); err != nil {
			m.fail("join: %v", err)
		}
		c.ready = c.src.Ready()
		c.joining = 2
	default:
		c.dst = c.p.q.Join(c.w.name, c.w.epoch, c.w.pool.Capacity(), c.unknown, m.now)
		c.up, c.joining = true, 0
	}
}

// exchange has both sides write, and delivers what has arrived.
func (m *model) exchange(c *wire, delay int64) {
	if body, n := c.p.q.Take(c.dst, nil, 200+m.rand.IntN(2000), m.now); n > 0 {
		c.down = append(c.down, message{at: delay, kind: 't', body: body})
		for _, w := range c.p.q.State(m.now).Workers {
			if w.ID == c.w.name && w.InFlight > c.most {
				m.fail("%s was sent tasks by %s, so that it holds %d, and was never granted more than %d", w.ID, c.p.name, w.InFlight, c.most)
			}
		}
	}
	recalls, cancels := c.p.q.TakeOrders(c.dst, nil, nil)
	if len(recalls) > 0 {
		m.facts.recalls += len(recalls)
		c.down = append(c.down, message{at: delay, kind: 'r', list: recalls})
	}
	if len(cancels) > 0 {
		c.down = append(c.down, message{at: delay, kind: 'c', list: cancels})
	}
	if m.chance(3) {
		pending, _ := c.p.q.Backlog(m.now)
		c.down = append(c.down, message{at: delay, kind: 'b', a: uint64(pending)})
	}
	held := c.w.pool.Holds(c.src)
	work := c.w.pool.Take(c.src, nil, m.now)
	if work.Window {
		c.most = max(c.most, work.Tasks)
		c.back = append(c.back, message{at: delay, kind: 'w', a: uint64(work.Tasks), b: uint64(work.Bytes)})
	}
	if len(work.Outcomes) > 0 {
		c.back = append(c.back, message{at: delay, kind: 'o', body: work.Outcomes})
	}
	if len(work.Alive) > 0 {
		c.back = append(c.back, message{at: delay, kind: 'a', list: work.Alive})
	}
	if work.Ping {
		c.w.pool.Pong(c.src, time.Duration(m.rand.Int64N(int64(5*time.Millisecond))), m.now)
	}
	if work.Leaving {
		c.back = append(c.back, message{at: delay, kind: 'l'})
		if held == 0 {
			c.back = append(c.back, message{at: delay, kind: 'e'})
		}
	}
	for len(c.down) > 0 && c.down[0].at <= m.now {
		f := c.down[0]
		c.down = c.down[1:]
		m.downward(c, &f)
	}
	for c.up && len(c.back) > 0 && c.back[0].at <= m.now {
		f := c.back[0]
		c.back = c.back[1:]
		m.backward(c, &f)
	}
}

func (m *model) downward(c *wire, f *message) {
	switch f.kind {
	case 't':
		if err := c.w.pool.Receive(c.src, f.body, m.now); err != nil {
			m.fail("tasks: %v", err)
		}
	case 'r':
		c.w.pool.Recall(c.src, f.list, m.now)
	case 'c':
		for _, t := range c.w.pool.Cancel(nil, c.src, f.list, m.now) {
			m.cancel(c.w, t)
		}
	case 'b':
		c.w.pool.Backlog(c.src, f.a, m.now)
	}
}

func (m *model) backward(c *wire, f *message) {
	q := c.p.q
	switch f.kind {
	case 'w':
		q.Window(c.dst, f.a, f.b, m.now)
	case 'o':
		if err := q.Apply(c.dst, f.body, m.now); err != nil {
			m.fail("outcomes: %v", err)
		}
	case 'a':
		q.Vouch(c.dst, f.list, m.now)
	case 'l':
		q.Leave(c.dst)
	case 'e':
		m.cut(c, true)
	}
}

func (m *model) cancel(w *worker, t *pool.Task) {
	for _, r := range w.runs {
		for _, o := range r.tasks {
			if o == t && !r.deaf {
				r.canceled = true
				r.until = min(r.until, m.now+int64(time.Millisecond))
			}
		}
	}
}

func (m *model) tick(w *worker) {
	if w.frozen {
		return
	}
	for _, c := range w.pool.Tick(nil, m.now) {
		m.cancel(w, c.Task)
	}
}

// work begins tasks and ends those that are done.
func (m *model) work(w *worker) {
	if w.frozen {
		return
	}
	for {
		tasks := w.pool.Begin(nil, m.now)
		if len(tasks) == 0 {
			break
		}
		r := &run{tasks: tasks, verb: frame.Ack, deaf: m.chance(4)}
		r.until = m.now + m.rand.Int64N(int64(4*time.Millisecond))*w.slow
		switch {
		case m.calm:
		case m.chance(100):
			r.until = m.now + int64(2*time.Minute) // hangs
		case m.chance(12):
			r.verb = frame.Retry
		case m.chance(30):
			r.verb = frame.Release
		case m.chance(50):
			r.verb = frame.Reject
		}
		w.runs = append(w.runs, r)
		for _, t := range tasks {
			m.begun(t)
		}
	}
	left := w.runs[:0]
	for _, r := range w.runs {
		if r.until > m.now {
			left = append(left, r)
			continue
		}
		for _, t := range r.tasks {
			o := frame.Outcome{Verb: r.verb, Delay: -1, Data: []byte("because")}
			if r.canceled {
				o.Verb = frame.Retry
			}
			if o.Verb == frame.Ack {
				m.taskOf(t).acks++
				o.Data = nil
			}
			w.pool.Done(t, o, m.now)
		}
		w.pool.Free()
	}
	w.runs = left
}

func (m *model) taskOf(t *pool.Task) *task {
	for _, c := range m.queues {
		if src := t.Source.Key(); src == "peer "+c.name {
			return c.tasks[t.Seq]
		}
	}
	return nil
}

func (m *model) begun(t *pool.Task) {
	k := m.taskOf(t)
	if k == nil {
		m.fail("task %d began that nobody added", t.Seq)
		return
	}
	m.facts.runs++
	if k.starts++; k.starts > 1 {
		m.facts.reruns++
	}
	// A worker that was frozen may begin what was given to another by now: it has the
	// lower fence.
	if t.Fence>>40 == k.fence>>40 && (t.Fence > k.fence) != (t.Delivery() > k.delivery) {
		m.fail("task %d of %s began with fence %d at delivery %d, and %d at %d", t.Seq, t.Source.Key(), t.Fence, t.Delivery(), k.fence, k.delivery)
	}
	k.fence, k.delivery = t.Fence, t.Delivery()
	if t.Attempt > queue.DefaultAttempts {
		m.fail("task %d began its attempt %d", t.Seq, t.Attempt)
	}
}

// settle takes in the tasks that have ended.
func (m *model) settle() {
	for _, p := range m.queues {
		for _, t := range p.q.TakeEnded(nil) {
			k := p.tasks[t.Seq]
			if k == nil {
				m.fail("task %d of %s ended that nobody added", t.Seq, p.name)
				continue
			}
			k.end = t.End
			m.facts.ends[t.End]++
			if k.ends++; k.ends > 1 {
				m.fail("task %d of %s ended %d times, the last time as %v", t.Seq, p.name, k.ends, t.End)
			}
			if t.End == queue.Acked && k.acks == 0 {
				m.fail("task %d of %s is acked and nobody did it", t.Seq, p.name)
			}
			if t.Attempts > queue.DefaultAttempts {
				m.fail("task %d of %s had %d attempts", t.Seq, p.name, t.Attempts)
			}
			for _, a := range t.History {
				if a.Counted && a.Cause == "recalled" {
					m.fail("task %d of %s: a recall cost an attempt: %+v", t.Seq, p.name, t.History)
				}
			}
		}
	}
}

func (m *model) fail(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf(format, args...))
}

func (m *model) check() {
	for _, p := range m.queues {
		if err := p.q.Check(); err != nil {
			m.fail("%s: %v", p.name, err)
		}
	}
	for _, w := range m.workers {
		if err := w.pool.Check(); err != nil {
			m.fail("%s: %v", w.name, err)
		}
	}
}

// run lets n things happen, then only good ones until all tasks have ended.
func (m *model) run(n int) {
	for range n {
		m.step()
		if m.check(); len(m.trace) > 0 {
			return
		}
	}
	m.calm = true
	if m.chance(4) {
		p := m.queues[0]
		p.q.Close()
		listed := p.q.Return(m.now)
		for _, t := range listed {
			if t.End != queue.Returned {
				m.fail("task %d of %s was returned and is %v", t.Seq, p.name, t.End)
			}
		}
		m.settle()
	}
	for _, w := range m.workers {
		w.frozen = false
	}
	m.hire() // others may all drain
	for round := 0; ; round++ {
		open := 0
		for _, p := range m.queues {
			open += p.q.Len()
		}
		if open == 0 {
			break
		}
		if round > 200_000 {
			for _, p := range m.queues {
				m.fail("%s: tasks do not end: %+v", p.name, p.q.State(m.now))
			}
			return
		}
		if round%64 == 0 {
			m.now += int64(time.Second)
		}
		m.now += int64(time.Millisecond)
		for _, p := range m.queues {
			p.q.Tick(m.now)
		}
		for _, w := range m.workers {
			m.tick(w)
			m.work(w)
		}
		for _, c := range m.wires {
			m.wire(c)
		}
		m.settle()
	}
	m.check()
	for _, p := range m.queues {
		for seq, k := range p.tasks {
			if k.ends != 1 {
				m.fail("task %d of %s ended %d times", seq, p.name, k.ends)
			}
		}
	}
}

// TestModel runs random schedules. A failure prints its seed.
func TestModel(t *testing.T) {
	runs := 400
	if testing.Short() {
		runs = 50
	}
	var sum facts
	for seed := range uint64(runs) {
		m := newModel(seed)
		m.run(300 + m.rand.IntN(1500))
		if len(m.trace) > 0 {
			t.Fatalf("seed %d at %v: %v", seed, time.Duration(m.now), m.trace)
		}
		sum.cuts += m.facts.cuts
		sum.kills += m.facts.kills
		sum.runs += m.facts.runs
		sum.reruns += m.facts.reruns
		sum.recalls += m.facts.recalls
		sum.restarts += m.facts.restarts
		for i, n := range m.facts.ends {
			sum.ends[i] += n
		}
	}
	t.Logf("%d schedules: ends %v, %d runs, %d of them again, %d recalls, %d streams cut, %d workers killed, %d producers restarted",
		runs, sum.ends[1:], sum.runs, sum.reruns, sum.recalls, sum.cuts, sum.kills, sum.restarts)
	for _, n := range []int{sum.ends[queue.Acked], sum.ends[queue.DeadLettered], sum.ends[queue.Expired], sum.ends[queue.Canceled], sum.ends[queue.Returned], sum.reruns, sum.recalls, sum.cuts, sum.kills, sum.restarts} {
		if n == 0 {
			t.Error("something of this never happened, so it was not tested")
		}
	}
}

// FuzzModel lets the fuzzer choose the schedule.
func FuzzModel(f *testing.F) {
	f.Add([]byte("a schedule"))
	f.Fuzz(func(t *testing.T, script []byte) {
		var seed [8]byte
		copy(seed[:], script)
		m := newModel(binary.BigEndian.Uint64(seed[:]))
		m.run(min(20*len(script), 2000))
		if len(m.trace) > 0 {
			t.Fatalf("script %q: %v", script, m.trace)
		}
	})
}

// journal is a log in memory, from which a queue is made anew.
type journal struct {
	tasks []queue.Task // as they were logged last, in order
	dead  map[uint64]queue.Task
	last  uint64
}

func (j *journal) add(t *queue.Task) {
	j.last = t.Seq
	j.tasks = append(j.tasks, *t)
}

func (j *journal) find(seq uint64) int {
	for i := range j.tasks {
		if j.tasks[i].Seq == seq {
			return i
		}
	}
	return -1
}

func (j *journal) Failed(t *queue.Task) {
	i := j.find(t.Seq)
	j.tasks[i].Attempts, j.tasks[i].NotBefore = t.Attempts, t.NotBefore
	j.tasks[i].History = append([]queue.Attempt{}, t.History...)
}

func (j *journal) Ended(t *queue.Task) {
	i := j.find(t.Seq)
	j.tasks = append(j.tasks[:i], j.tasks[i+1:]...)
}

func (j *journal) Dead(t *queue.Task) {
	j.Ended(t)
	if j.dead == nil {
		j.dead = make(map[uint64]queue.Task)
	}
	j.dead[t.Seq] = *t
}

func (j *journal) Buried(seq uint64) { delete(j.dead, seq) }

func (j *journal) restore(q *queue.Queue, now int64) {
	for _, t := range j.tasks {
		q.Restore(&queue.Task{
			Body: t.Body, Key: t.Key, Tenant: t.Tenant, ID: t.ID, Priority: t.Priority, NotBefore: t.NotBefore,
			Expires: t.Expires, Deadline: t.Deadline, Seq: t.Seq, Added: t.Added, Attempts: t.Attempts, History: t.History,
		}, now)
	}
}
