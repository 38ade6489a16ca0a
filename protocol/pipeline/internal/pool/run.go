package pool

import (
	"errors"
	"time"

	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// The causes with which handlers are canceled.
var (
	ErrCanceled = errors.New("the producer canceled the task")
	ErrDeadline = errors.New("the deadline of the task is over")
	ErrOverrun  = errors.New("the handler ran longer than it may")
	ErrClosed   = errors.New("the worker's node was closed")
	ErrLost     = errors.New("the producer was lost, and the task may be with another worker")
)

// Waiting reports whether a task could begin now.
func (p *Pool) Waiting(now int64) bool {
	if p.queued == 0 || p.busy >= p.opts.Slots {
		return false
	}
	return p.opts.Batch <= 1 || p.queued >= p.opts.Batch || p.draining || after(p.oldest(), p.opts.Linger) <= now
}

// oldest returns when the task that has waited longest arrived.
func (p *Pool) oldest() int64 {
	first := int64(0)
	p.turn.all(func(g *group) {
		g.turn.all(func(s *Source) {
			if at := s.queue.head.arrived; first == 0 || at < first {
				first = at
			}
		})
	})
	return first
}

// Begin takes a slot and appends the tasks that a handler is to run in it: one, or a
// batch. Groups take turns, and so do the sources of each group. If nothing can begin, it
// appends nothing and takes no slot. Free gives the slot back.
func (p *Pool) Begin(dst []*Task, now int64) []*Task {
	if !p.Waiting(now) {
		return dst
	}
	had := len(dst)
	for p.turn != nil && len(dst)-had < p.opts.Batch {
		g := p.turn.value
		s := g.turn.value
		t := s.queue.head
		p.turn, g.turn = p.turn.next, g.turn.next
		if t.start != 0 && t.start <= now || t.Deadline != 0 && t.Deadline <= now {
			p.release(t, "its time was over before it could begin", now)
			continue
		}
		// This process stood still for so long that another worker may have the task by now.
		if now-max(t.arrived, s.alive) >= int64(p.opts.Lease) {
			p.release(t, "its lease was over before it could begin", now)
			continue
		}
		p.dequeue(t)
		t.state, t.began, t.until = stateRunning, now, after(now, p.opts.MaxRun)
		p.running.push(t)
		dst = append(dst, t)
	}
	if len(dst) > had {
		p.busy++
	}
	return dst
}

// Free gives a slot back.
func (p *Pool) Free() { p.busy-- }

// Done takes the outcome of a task that had begun. It sets Seq, Delivery and Ran of the
// outcome, and keeps its Data.
func (p *Pool) Done(t *Task, o frame.Outcome, now int64) {
	p.running.remove(t)
	if t.over != nil && (o.Verb == frame.Retry || o.Verb == frame.Release) {
		o = frame.Outcome{Verb: frame.Retry, Delay: -1, Data: []byte(t.over.Error())}
	}
	o.Ran = time.Duration(now - t.began)
	each := float64(o.Ran) / float64(p.opts.Batch)
	if p.service == 0 {
		p.service = each
	} else {
		p.service += (each - p.service) / 16
	}
	switch o.Verb {
	case frame.Ack, frame.Result:
		p.stats.Done++
	case frame.Retry:
		p.stats.Failed++
	case frame.Release:
		p.stats.Released++
	case frame.Reject:
		p.stats.Rejected++
	case frame.Started:
	}
	if t.state == stateGone {
		// The task was given up, but the producer should know that it is done, unless it is here again.
		if (o.Verb == frame.Ack || o.Verb == frame.Result) && t.Source.held.Get(t.Seq) == nil {
			p.answer(t, o, now)
		}
		return
	}
	p.answer(t, o, now)
	p.settle(t)
}

// settle stops holding a task that has begun. Its handler may still run.
func (p *Pool) settle(t *Task) {
	t.state = stateGone
	p.free(t)
}

func (p *Pool) answer(t *Task, o frame.Outcome, now int64) {
	o.Seq, o.Delivery = t.Seq, t.delivery
	p.keep(t.Source, &o, now)
	p.say(t.Source, &o)
}

// release gives back a task that has not begun.
func (p *Pool) release(t *Task, why string, now int64) {
	p.drop(t)
	p.stats.Released++
	p.answer(t, frame.Outcome{Verb: frame.Release, Data: []byte(why)}, now)
}

// Recall gives back those of the tasks that have not begun. It answers STARTED for the others.
func (p *Pool) Recall(s *Source, seqs []uint64, now int64) {
	for _, seq := range seqs {
		t := s.held.Get(seq)
		switch {
		case t == nil:
			// The outcome is in flight.
		case t.state == stateQueued:
			p.release(t, "recalled", now)
		default:
			p.echo(s, &frame.Outcome{Verb: frame.Started, Seq: t.Seq, Delivery: t.delivery})
		}
	}
}

// Cancel gives back those of the tasks that have not begun, and appends those whose
// handlers are to be canceled.
func (p *Pool) Cancel(dst []*Task, s *Source, seqs []uint64, now int64) []*Task {
	for _, seq := range seqs {
		t := s.held.Get(seq)
		switch {
		case t == nil:
		case t.state == stateQueued:
			p.release(t, "canceled", now)
		default:
			p.echo(s, &frame.Outcome{Verb: frame.Started, Seq: t.Seq, Delivery: t.delivery})
			dst = append(dst, t)
		}
	}
	return dst
}

// Drain gives back the tasks that have not begun and takes no new ones. Sources of the
// worker's own node are exempt unless all is true: a draining node has its own tasks done.
func (p *Pool) Drain(all bool, now int64) {
	if p.left || p.draining && !all {
		return
	}
	p.draining, p.left = true, all
	for _, s := range p.sources {
		for t := s.queue.head; t != nil && p.leaves(s); t = s.queue.head {
			p.release(t, "the worker drains", now)
		}
	}
	p.stale = true
	p.share(now)
	for _, s := range p.sources {
		s.ready.Set()
	}
}

// leaves reports whether the pool takes no more tasks from a source.
func (p *Pool) leaves(s *Source) bool { return p.left || p.draining && !s.own }

// Draining reports whether Drain was called.
func (p *Pool) Draining() bool { return p.draining }

// Holds returns a number that is 0 only if the pool has no tasks of a source and no
// outcomes to be written to it.
func (p *Pool) Holds(s *Source) int { return s.held.Len() + len(s.out) + len(s.again) }
