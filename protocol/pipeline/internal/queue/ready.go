package queue

import (
	"math/bits"
	"time"
)

const (
	// quantum is how many bytes of a tenant are sent per turn (deficit round robin,
	// Shreedhar and Varghese 1995).
	quantum = 4096
	// ageStep is how long a task waits to count as one priority higher, so that the
	// lowest waits at most 90 s behind a steady stream of the highest.
	ageStep = int64(10 * time.Second)
)

// ready holds the tasks that wait for a worker. They are ordered by priority, then by
// the turns of tenants, and then in line.
type ready struct {
	classes [MaxPriority + 1]class
	// Bit i of full is set if classes[i] has tasks.
	full uint16
	n    int
}

type class struct {
	tenants map[string]*tenant
	// turn is the ring of the tenants that have tasks.
	turn *tenant
	n    int
}

type tenant struct {
	name       string
	tasks      places
	deficit    int
	prev, next *tenant
}

func (r *ready) push(t *Task, front bool) {
	c := &r.classes[t.Priority]
	lane := c.tenants[t.Tenant]
	if lane == nil {
		lane = &tenant{name: t.Tenant}
		if c.tenants == nil {
			c.tenants = make(map[string]*tenant)
		}
		c.tenants[t.Tenant] = lane
	}
	if lane.tasks.n == 0 {
		c.join(lane)
	}
	t.lane = lane
	if front {
		lane.tasks.pushFront(t)
	} else {
		lane.tasks.push(t)
	}
	c.n++
	r.n++
	r.full |= 1 << t.Priority
}

// remove removes a task.
func (r *ready) remove(t *Task) {
	c, lane := &r.classes[t.Priority], t.lane
	lane.tasks.remove(t)
	t.lane = nil
	if lane.tasks.n == 0 {
		c.leave(lane)
	}
	r.n--
	if c.n--; c.n == 0 {
		r.full &^= 1 << t.Priority
	}
}

// pop removes and returns the task whose turn it is. There must be one.
func (r *ready) pop(now int64) *Task {
	best := bits.Len16(r.full) - 1
	// Tasks of lower priorities may have waited longer.
	if r.full&^(1<<best) != 0 {
		top := int64(-1)
		for p := best; p >= 0; p-- {
			if r.full&(1<<p) == 0 {
				continue
			}
			age := max(now-r.classes[p].turn.tasks.head.Added, 0)
			if score := int64(p)*ageStep + age; score > top {
				best, top = p, score
			}
		}
	}
	t := r.classes[best].next()
	r.remove(t)
	return t
}

// next returns the first task of the tenant whose turn it is.
func (c *class) next() *Task {
	for {
		lane := c.turn
		t := lane.tasks.head
		if lane.next == lane {
			return t
		}
		if size := len(t.Body); lane.deficit >= size {
			lane.deficit -= size
			return t
		}
		lane.deficit += quantum
		c.turn = lane.next
	}
}

func (c *class) join(lane *tenant) {
	lane.deficit = quantum
	if c.turn == nil {
		lane.prev, lane.next = lane, lane
		c.turn = lane
		return
	}
	// The tenant goes behind all others.
	lane.prev, lane.next = c.turn.prev, c.turn
	lane.prev.next, lane.next.prev = lane, lane
}

func (c *class) leave(lane *tenant) {
	// Named tenants come and go; the one without a name stays.
	if lane.name != "" {
		delete(c.tenants, lane.name)
	}
	if lane.next == lane {
		c.turn = nil
	} else {
		lane.prev.next, lane.next.prev = lane.next, lane.prev
		if c.turn == lane {
			c.turn = lane.next
		}
	}
	lane.prev, lane.next = nil, nil
}
