package pool

import (
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// A Cancellation is a task whose handler is to be canceled, and why.
type Cancellation struct {
	Task  *Task
	Cause error
}

// Tick does what is due, and appends the tasks whose handlers are to be canceled.
func (p *Pool) Tick(dst []Cancellation, now int64) []Cancellation {
	if p.starved && now-p.shared >= rotateEvery {
		p.stale = true
	}
	if now-p.shared >= shareEvery {
		p.share(now)
	}
	p.giveBack(now)
	for t := p.running.head; t != nil; t = t.run.next {
		switch {
		case t.state != stateRunning || t.over != nil:
		case t.Deadline != 0 && t.Deadline <= now:
			dst = append(dst, Cancellation{t, ErrDeadline})
			p.overrun(t, ErrDeadline, now)
		case t.until <= now:
			dst = append(dst, Cancellation{t, ErrOverrun})
			p.overrun(t, ErrOverrun, now)
		case !t.Source.connected && now-t.Source.lostAt >= int64(p.opts.Grace):
			dst = append(dst, Cancellation{t, ErrLost})
			t.lost = true
			p.settle(t)
		}
	}
	if now-p.swept >= sweepEvery {
		p.swept = now
		p.sweep(now)
	}
	return dst
}

// Abandon appends all tasks whose handlers run.
func (p *Pool) Abandon(dst []Cancellation) []Cancellation {
	for t := p.running.head; t != nil; t = t.run.next {
		dst = append(dst, Cancellation{t, ErrClosed})
	}
	return dst
}

// overrun answers for a task whose time is over. Its handler cannot be stopped and may run on.
// If the task has a key, it is answered for only when the handler has returned, because neither
// the next task of the key nor the same one again may run at the same time.
func (p *Pool) overrun(t *Task, cause error, now int64) {
	p.stats.Overrun++
	if frame.Keyed(t.Body) {
		t.over = cause
		return
	}
	p.answer(t, frame.Outcome{Verb: frame.Retry, Delay: -1, Data: []byte(cause.Error())}, now)
	p.settle(t)
}

// giveBack releases tasks beyond a producer's window that have waited for startPatience, the last
// ones first. From the window the producer can tell that the task is not to blame.
func (p *Pool) giveBack(now int64) {
	for _, s := range p.sources {
		if over := s.held.Len() - max(s.wish, s.window); over > 0 {
			for t := s.queue.tail; t != nil && over > 0; over-- {
				before := t.queue.prev
				if now-t.arrived < startPatience {
					break
				}
				p.release(t, "it could not begin soon", now)
				t = before
			}
		}
	}
}

func (p *Pool) sweep(now int64) {
	for key, s := range p.sources {
		s.dropAged(now, p.opts.CacheTime)
		if s.connected {
			if s.held.Len() > 0 && now-s.pinged >= pingEvery {
				s.pingDue = true
				s.ready.Set()
			}
			if now-s.alive >= int64(p.opts.Lease)/3 && s.held.Len() > 0 {
				s.ready.Set()
			}
			continue
		}
		if s.held.Len() == 0 && now-s.lostAt >= int64(p.opts.CacheTime) && !p.runs(s) {
			s.clear()
			delete(p.sources, key)
			s.of.sources.Give(1)
			p.forget(s.of)
		}
	}
}

// runs reports whether a handler runs for a source.
func (p *Pool) runs(s *Source) bool {
	for t := p.running.head; t != nil; t = t.run.next {
		if t.Source == s {
			return true
		}
	}
	return false
}

// Next returns when Tick has something to do, or 0 if never.
func (p *Pool) Next(now int64) int64 {
	next := int64(0)
	soon := func(at int64) {
		if at != 0 && (next == 0 || at < next) {
			next = max(at, now)
		}
	}
	if p.stale {
		soon(p.shared + shareEvery)
	}
	if p.starved {
		soon(p.shared + rotateEvery)
	}
	for t := p.running.head; t != nil; t = t.run.next {
		if t.state == stateRunning && t.over == nil {
			soon(t.until)
			soon(t.Deadline)
		}
	}
	if p.opts.Batch > 1 && p.queued > 0 && p.busy < p.opts.Slots {
		soon(after(p.oldest(), p.opts.Linger))
	}
	if p.queued > 0 {
		soon(now + startPatience)
	}
	if len(p.sources) > 0 {
		soon(p.swept + sweepEvery)
	}
	return next
}
