package queue_test

import (
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/pool"
)

// answer has a worker write the next of its frames, or the control frames that must not wait until
// unfinished outcomes are written.
func (m *model) answer(c *wire, delay int64) {
	held := c.w.pool.Holds(c.src)
	if held > 0 && !c.w.frozen {
		// PING and PONG have this effect.
		c.heard, c.told = m.now, m.now
	}
	if c.work == nil {
		work := c.w.pool.Take(c.src, nil, m.now)
		c.work, c.drained = &work, held == 0
		m.control(c, &work, delay)
	} else if m.chance(2) {
		m.facts.asides++
		work := c.w.pool.Aside(c.src, c.work.Outcomes, m.now)
		m.control(c, &work, delay)
		return
	}
	if left := c.work.Outcomes; len(left) > 0 {
		var o frame.Outcome
		rest, err := o.Cut(left)
		if err != nil {
			m.fail("outcomes: %v", err)
		}
		if m.chance(2) {
			// The other outcomes go in the same frame.
			rest = nil
		}
		c.back = append(c.back, message{at: delay, kind: 'o', body: left[:len(left)-len(rest)]})
		if c.work.Outcomes = rest; len(rest) > 0 {
			return
		}
	}
	if c.work.Leaving {
		c.back = append(c.back, message{at: delay, kind: 'l'})
		if c.drained {
			c.back = append(c.back, message{at: delay, kind: 'e'})
		}
	}
	c.work = nil
}

// control has a worker write control frames.
func (m *model) control(c *wire, work *pool.Work, delay int64) {
	if len(work.Alive) > 0 {
		c.back = append(c.back, message{at: delay, kind: 'a', list: work.Alive})
	}
	if work.Window {
		c.most = max(c.most, work.Tasks)
		c.back = append(c.back, message{at: delay, kind: 'w', a: uint64(work.Tasks), b: uint64(work.Bytes)})
	}
	if work.Ping {
		c.down = append(c.down, message{at: delay, kind: 'p', a: uint64(m.now / 1000)})
	}
}
