package queue_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/pool"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// model has producers and workers, with the real engines of both, and streams between them
// that a script delays and cuts. It checks the guarantees of a pipeline.
type model struct {
	seed    uint64
	rand    *rand.Rand
	now     int64
	queues  []*producer
	workers []*worker
	wires   []*wire
	// calm is set when there are no more faults.
	calm   bool
	nextID int
	facts  facts
	trace  []string
}

// facts counts what happened in the runs of a test, to show that they tested something.
type facts struct {
	ends                                         [queue.Returned + 1]int
	cuts, kills, runs, reruns, recalls, restarts int
	// crashes counts the restarts that lost what was not written.
	crashes int
	// adopted counts the tasks that a producer that came back found with workers.
	adopted int
	// keyed counts the runs of tasks with a key, and fenced those beside a run whose worker was lost.
	keyed  int
	fenced int
	// parts counts the tasks that were sent in parts, and asides how often outcomes were interrupted.
	parts  int
	asides int
	// twins counts the pushes with a known ID, and oldTwins those that name a task of an earlier run.
	twins, oldTwins int
}

type producer struct {
	name  string
	q     *queue.Queue
	log   *journal
	fence uint64
	// tasks has all tasks by number, and named the last task with each ID.
	tasks map[uint64]*task
	// ended has the tasks whose ends are not written yet, so that they are not told.
	ended []*queue.Task
	named map[string]*task
	// began is when the queue was opened.
	began int64
}

type task struct {
	seq   uint64
	id    string
	added int64
	// taken is set if the task was a dead letter and no longer is one.
	taken bool
	// past is set if the task is of an earlier run.
	past bool
	// over is how the task ended, even if that is not told yet.
	over   queue.End
	end    queue.End
	ends   int
	starts int
	// acks counts the handlers that returned an ack.
	acks     int
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
	// deaf is set if the handler ignores that it was canceled.
	deaf bool
	// lost tells for each task whether its producer may have given it up.
	lost []bool
}

// wire is the stream between a producer and a worker.
type wire struct {
	p     *producer
	w     *worker
	up    bool
	src   *pool.Source
	dst   *queue.Worker
	ready <-chan struct{}
	// down and back have the frames in flight, in order.
	down, back []message
	// joining is 1 while HELLO is in flight, and 2 while WELCOME is.
	joining int
	held    []uint64
	asked   [2]uint64
	answer  pool.Answer
	// most is the largest window that was granted since the stream came up.
	most int
	// heard is when the producer last heard from the worker, told when the worker last heard from the producer.
	heard int64
	told  int64
	// rest is a task that is sent in parts.
	rest []byte
	// work has the outcomes that are being written. drained is set if nothing is to follow them.
	work    *pool.Work
	drained bool
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
		p := &producer{name: fmt.Sprint("p", i), tasks: make(map[uint64]*task), named: make(map[string]*task), log: newJournal()}
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
				p.tasks[dead.Seq].taken = true
				m.push(p, &queue.Task{Body: dead.Body, Key: dead.Key})
				p.q.Bury(dead)
			}
		}
	default:
		m.wire(m.wires[m.rand.IntN(len(m.wires))])
	}
	m.work(m.workers[m.rand.IntN(len(m.workers))])
	m.settle()
	if m.chance(6) {
		m.write(p)
	}
}

// write writes the events of a producer's tasks, and then tells how they ended.
func (m *model) write(p *producer) {
	m.settle()
	p.log.write()
	ended := p.ended
	p.ended = nil
	for _, t := range ended {
		m.tell(p, t)
		p.q.Settle(t, m.now)
	}
}

func (m *model) add(p *producer) {
	t := &queue.Task{}
	payload := bytes.Repeat([]byte{1}, m.rand.IntN(50))
	t.Priority = uint8(m.rand.IntN(10))
	if m.chance(3) {
		t.Key = string(rune('a' + m.rand.IntN(5)))
	}
	t.Body = bodyOf(t.Key, payload)
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
		t.ID = fmt.Sprint("id", m.rand.IntN(100))
	}
	m.push(p, t)
}

// bodyOf returns the body of a task with a key, as workers read it.
func bodyOf(key string, payload []byte) []byte {
	return (&frame.Body{Key: key, Payload: payload}).Append(nil)
}

func (m *model) push(p *producer, t *queue.Task) {
	m.settle()
	got, err := p.q.Reserve(t, m.now)
	if err != nil {
		return
	}
	last := p.named[t.ID]
	if got != t {
		m.facts.twins++
		if last == nil || got.Seq != last.seq {
			m.fail("task %s of %s is taken for task %d", t.ID, p.name, got.Seq)
		} else if last.past {
			m.facts.oldTwins++
		}
		return
	}
	if m.chance(50) { // the disk refused it
		p.q.Withdraw(t)
		return
	}
	if last != nil && !last.taken && last.over != queue.Canceled && last.over != queue.Expired && m.now-last.added < int64(queue.DefaultDedupTime) {
		m.fail("task %s of %s was pushed %v ago, is %v, and is accepted again", t.ID, p.name, time.Duration(m.now-last.added), last.over)
	}
	p.log.add(t)
	k := &task{key: t.Key, seq: t.Seq, id: t.ID, added: m.now}
	p.tasks[t.Seq] = k
	if t.ID != "" {
		p.named[t.ID] = k
	}
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
			m.workers[m.rand.IntN(len(m.workers))].pool.Drain(true, m.now)
		}
	case 6:
		if m.chance(4) {
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

// restart restores a queue from its log. What was not written is lost.
func (m *model) restart(p *producer) {
	m.facts.restarts++
	for _, c := range m.wires {
		if c.p == p {
			m.lose(c)
			c.dst = nil // the queue is not told
			m.cut(c, false)
		}
	}
	if m.chance(2) {
		m.write(p)
	} else if m.settle(); len(p.ended) > 0 {
		m.facts.crashes++
		for _, t := range p.ended {
			p.tasks[t.Seq].over = queue.Open
		}
	}
	p.ended = nil
	p.log.lose()
	for _, k := range p.tasks {
		k.past = true
	}
	p.fence += 1 << 40
	p.began = m.now
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
		c.w.pool.Leave(c.src, c.ready, c.told, m.now)
	}
	if c.dst != nil && c.up {
		c.p.q.Disconnect(c.dst, clean, c.heard, m.now)
	}
	c.up, c.joining, c.src, c.most, c.rest, c.work = false, 0, nil, 0, nil, nil
}

// wire lets one frame pass, or the stream come up.
func (m *model) wire(c *wire) {
	if c.w.frozen {
		if c.up && m.chance(100) { // the transport closes it
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
		c.asked[0], c.asked[1] = c.p.q.Asks()
	case c.joining == 1:
		m.lose(c)
		var err error
		hello := pool.Hello{From: share.Key{Name: "peer"}, Queue: c.p.name, Fence: c.p.fence, Held: c.held, First: c.asked[0], Last: c.asked[1]}
		if c.src, c.answer, err = c.w.pool.Join(hello, m.now); err != nil {
			m.fail("join: %v", err)
		}
		c.told = m.now
		m.facts.adopted += len(c.answer.Running) / 2
		c.ready = c.src.Ready()
		c.joining = 2
	default:
		m.lose(c)
		c.p.log.introduce(c.w.name)
		c.dst = c.p.q.Join(c.w.name, queue.Welcome{Epoch: c.w.epoch, Slots: c.w.pool.Capacity(), Asked: c.held, Unknown: c.answer.Unknown, Running: c.answer.Running}, m.now)
		c.up, c.joining, c.heard = true, 0, m.now
	}
}

// exchange has both sides write, and delivers what has arrived.
func (m *model) exchange(c *wire, delay int64) {
	m.parts(c, delay)
	most := 40 + m.rand.IntN(300)
	if body, n := c.p.q.Take(c.dst, nil, most, m.now); n > 0 {
		if len(body) > most {
			c.rest = body
			m.facts.parts++
		} else {
			c.down = append(c.down, message{at: delay, kind: 't', body: body})
		}
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
	m.answer(c, delay)
	for len(c.down) > 0 && c.down[0].at <= m.now {
		f := c.down[0]
		c.down = c.down[1:]
		c.told = m.now
		m.downward(c, &f)
	}
	for c.up && len(c.back) > 0 && c.back[0].at <= m.now {
		f := c.back[0]
		c.back = c.back[1:]
		c.heard = m.now
		m.backward(c, &f)
	}
}

// parts may send a part of a task. The task arrives with the last part.
func (m *model) parts(c *wire, delay int64) {
	switch {
	case c.rest == nil:
	case m.chance(4):
		c.p.q.Sent(c.dst, m.now)
		c.down = append(c.down, message{at: delay, kind: 't', body: c.rest})
		c.rest = nil
	case m.chance(2):
		c.p.q.Sending(c.dst, m.now)
	}
}

func (m *model) downward(c *wire, f *message) {
	switch f.kind {
	case 't':
		if err := c.w.pool.Receive(c.src, f.body, m.now, m.now); err != nil {
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
	case 'p':
		c.w.pool.Pong(c.src, f.a, m.now)
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
		r := &run{tasks: tasks, verb: frame.Ack, deaf: m.chance(4), lost: make([]bool, len(tasks))}
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
	if p := m.producerOf(t); p != nil {
		return p.tasks[t.Seq]
	}
	return nil
}

func (m *model) producerOf(t *pool.Task) *producer {
	for _, p := range m.queues {
		if t.Source.Key() == "peer "+p.name {
			return p
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
	// A worker that was frozen may begin a task that another worker has by now. Its fence is
	// lower then.
	if t.Fence>>40 == k.fence>>40 && (t.Fence > k.fence) != (t.Delivery() > k.delivery) {
		m.fail("task %d of %s began with fence %d at delivery %d, and %d at %d", t.Seq, t.Source.Key(), t.Fence, t.Delivery(), k.fence, k.delivery)
	}
	m.inOrder(t, k)
	k.fence, k.delivery = t.Fence, t.Delivery()
	if t.Attempt > queue.DefaultAttempts {
		m.fail("task %d began its attempt %d", t.Seq, t.Attempt)
	}
}

// inOrder checks that tasks of one key are done one at a time and in order: none begins before
// the ends of those ahead of it are told, and none while the handler of another runs, unless the
// worker of that one was lost and its fence is lower.
func (m *model) inOrder(t *pool.Task, k *task) {
	p := m.producerOf(t)
	if k.key == "" {
		return
	}
	m.facts.keyed++
	for seq, o := range p.tasks {
		switch {
		case o.key != k.key || seq >= t.Seq:
		case o.ends == 0 && t.Fence >= k.fence:
			m.fail("task %d of %s, key %s, began before the end of task %d was told", t.Seq, p.name, k.key, seq)
		case o.fence >= t.Fence:
			m.fail("task %d of %s, key %s, began with fence %d, and task %d before it with %d", t.Seq, p.name, k.key, t.Fence, seq, o.fence)
		}
	}
	for _, c := range m.wires {
		if c.p != p {
			continue
		}
		for _, r := range c.w.runs {
			for i, o := range r.tasks {
				if o == t || m.producerOf(o) != p || p.tasks[o.Seq].key != k.key {
					continue
				}
				switch {
				case o.Fence > t.Fence && t.Fence < p.tasks[t.Seq].fence:
					// This delivery was given up, and begins late.
				case !r.lost[i] && !m.isLost(c):
					m.fail("task %d of %s, key %s, began while %s ran task %d of the key", t.Seq, p.name, k.key, c.w.name, o.Seq)
				case o.Fence >= t.Fence && o.Fence>>40 == t.Fence>>40:
					m.fail("task %d of %s, key %s, began with fence %d beside task %d with %d, whose worker was lost", t.Seq, p.name, k.key, t.Fence, o.Seq, o.Fence)
				default:
					m.facts.fenced++
				}
			}
		}
	}
}

// isLost reports whether a producer may have given up the tasks of a worker: it has not heard from
// the worker for the grace or, if the stream is up, for the time of a lease.
func (m *model) isLost(c *wire) bool {
	if c.up {
		return m.now-c.heard >= int64(queue.DefaultLease)
	}
	return m.now-max(c.heard, c.p.began) >= int64(queue.DefaultGrace)
}

// lose notes which runs a producer may have given up, before the worker is back.
func (m *model) lose(c *wire) {
	if !m.isLost(c) {
		return
	}
	for _, r := range c.w.runs {
		for i, t := range r.tasks {
			r.lost[i] = r.lost[i] || m.producerOf(t) == c.p
		}
	}
}

// settle notes the tasks that have ended.
func (m *model) settle() {
	for _, p := range m.queues {
		for _, t := range p.q.TakeEnded(nil) {
			if k := p.tasks[t.Seq]; k != nil {
				k.over = t.End
			}
			p.ended = append(p.ended, t)
		}
	}
}

// tell checks how a task has ended.
func (m *model) tell(p *producer, t *queue.Task) {
	k := p.tasks[t.Seq]
	if k == nil {
		m.fail("task %d of %s ended that nobody added", t.Seq, p.name)
		return
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

// run does n steps, and then goes on without faults until all tasks have ended.
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
		m.write(p)
	}
	for _, w := range m.workers {
		w.frozen = false
	}
	// All other workers may be draining.
	m.hire()
	for round := 0; ; round++ {
		open := 0
		for _, p := range m.queues {
			m.write(p)
			open += p.q.Len() + len(p.ended)
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
	runs := race.Fewer(400, 80)
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
		sum.crashes += m.facts.crashes
		sum.adopted += m.facts.adopted
		sum.keyed += m.facts.keyed
		sum.fenced += m.facts.fenced
		sum.parts += m.facts.parts
		sum.asides += m.facts.asides
		sum.twins += m.facts.twins
		sum.oldTwins += m.facts.oldTwins
		for i, n := range m.facts.ends {
			sum.ends[i] += n
		}
	}
	t.Logf("%d schedules: ends %v, %d runs, %d of them again, %d recalls, %d streams cut, %d workers killed, %d producers restarted, %d of them after a crash that lost what was not written; %d tasks found with workers, %d runs with a key, %d beside one that was given up; %d tasks in parts; %d times outcomes were interrupted; %d pushes with a known ID, %d of them of an earlier run",
		runs, sum.ends[1:], sum.runs, sum.reruns, sum.recalls, sum.cuts, sum.kills, sum.restarts,
		sum.crashes, sum.adopted, sum.keyed, sum.fenced, sum.parts, sum.asides, sum.twins, sum.oldTwins)
	counts := []int{sum.ends[queue.Acked], sum.ends[queue.DeadLettered], sum.ends[queue.Expired], sum.ends[queue.Canceled], sum.ends[queue.Returned], sum.reruns, sum.recalls, sum.cuts, sum.kills, sum.restarts, sum.crashes, sum.adopted, sum.keyed, sum.parts, sum.asides, sum.twins, sum.oldTwins, sum.fenced}
	for i, n := range counts {
		// The last count is of a rare event.
		if n == 0 && (i < len(counts)-1 || runs == 400) {
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

// journal is a log in memory, from which a queue is restored. Events are written later than
// they happen.
type journal struct {
	// tasks has the tasks as they were last logged, in order.
	tasks []queue.Task
	dead  map[uint64]queue.Task
	done  map[uint64]queue.Task
	// workers counts the records of each worker that may have tasks.
	workers map[string]int
	known   map[string]bool
	last    uint64
	pending []func()
}

func newJournal() *journal {
	return &journal{dead: make(map[uint64]queue.Task), done: make(map[uint64]queue.Task), workers: make(map[string]int), known: make(map[string]bool)}
}

func (j *journal) write() {
	for _, f := range j.pending {
		f()
	}
	j.pending = nil
}

// lose forgets what is not written.
func (j *journal) lose() {
	j.pending, j.known = nil, make(map[string]bool)
	for id := range j.workers {
		j.known[id] = true
	}
}

func (j *journal) add(t *queue.Task) {
	j.last = t.Seq
	j.tasks = append(j.tasks, *t)
}

func (j *journal) introduce(id string) {
	if !j.known[id] {
		j.known[id] = true
		j.workers[id]++
	}
}

func (j *journal) Gone(id string) {
	if !j.known[id] {
		return
	}
	delete(j.known, id)
	j.pending = append(j.pending, func() {
		if j.workers[id]--; j.workers[id] == 0 {
			delete(j.workers, id)
		}
	})
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
	attempts, at, history := t.Attempts, t.NotBefore, append([]queue.Attempt{}, t.History...)
	j.pending = append(j.pending, func() {
		k := &j.tasks[j.find(t.Seq)]
		k.Attempts, k.NotBefore, k.History = attempts, at, history
	})
}

func (j *journal) remove(seq uint64) {
	i := j.find(seq)
	j.tasks = append(j.tasks[:i], j.tasks[i+1:]...)
}

func (j *journal) Ended(t *queue.Task) {
	known, done := t.Remembered(), *t
	j.pending = append(j.pending, func() {
		j.remove(t.Seq)
		if known {
			j.done[t.Seq] = done
		}
	})
}

func (j *journal) Forgot(t *queue.Task) {
	j.pending = append(j.pending, func() { delete(j.done, t.Seq) })
}

func (j *journal) Dead(t *queue.Task) {
	dead := *t
	j.pending = append(j.pending, func() {
		j.remove(t.Seq)
		j.dead[t.Seq] = dead
	})
}

func (j *journal) Buried(seq uint64) {
	j.pending = append(j.pending, func() { delete(j.dead, seq) })
}

// copied returns a task as a log keeps it.
func copied(t *queue.Task) *queue.Task {
	return &queue.Task{
		Body: t.Body, Key: t.Key, Tenant: t.Tenant, ID: t.ID, Priority: t.Priority, NotBefore: t.NotBefore,
		Expires: t.Expires, Deadline: t.Deadline, Seq: t.Seq, Added: t.Added, Attempts: t.Attempts, History: t.History,
		Worker: t.Worker, Result: t.Result, Cause: t.Cause,
	}
}

func (j *journal) restore(q *queue.Queue, now int64) {
	q.Await(slices.Sorted(maps.Keys(j.workers)), now)
	inOrder := func(a, b uint64) int {
		return cmp.Or(cmp.Compare(j.done[a].Added, j.done[b].Added), cmp.Compare(a, b))
	}
	for _, seq := range slices.SortedFunc(maps.Keys(j.done), inOrder) {
		t := j.done[seq]
		if !q.Remember(copied(&t), now) {
			delete(j.done, seq)
		}
	}
	for _, seq := range slices.Sorted(maps.Keys(j.dead)) {
		t := j.dead[seq]
		q.RestoreDead(copied(&t), now, now)
	}
	for _, t := range j.tasks {
		q.Restore(copied(&t), now)
	}
}
