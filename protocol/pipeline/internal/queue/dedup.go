package queue

import "time"

// dedup remembers the tasks that had an ID, for a while.
type dedup struct {
	window int64
	most   int
	byID   map[string]*Task
	order  []remembered // a ring, oldest at first
	first  int
	n      int
}

type remembered struct {
	task *Task
	at   int64
}

func (d *dedup) init(window time.Duration, most int) {
	d.window, d.most = int64(window), most
}

// find returns the task that had the ID within the window, or has not ended. One that
// was canceled or has expired is none: it was not done, and may be wanted again.
func (d *dedup) find(id string, now int64) *Task {
	d.forget(now)
	t := d.byID[id]
	if t != nil && (t.End == Canceled || t.End == Expired) {
		d.remove(t)
		return nil
	}
	return t
}

func (d *dedup) add(t *Task, now int64) {
	if d.byID == nil {
		d.byID = make(map[string]*Task)
	}
	if d.n == len(d.order) {
		grown := make([]remembered, max(16, 2*d.n))
		for i := range d.n {
			grown[i] = d.order[(d.first+i)%d.n]
		}
		d.order, d.first = grown, 0
	}
	d.byID[t.ID] = t
	d.order[(d.first+d.n)%len(d.order)] = remembered{t, now}
	d.n++
	d.forget(now)
}

// forget drops what is older than the window or beyond the count. A task that has
// not ended stays known for longer: it goes to the end of the ring.
func (d *dedup) forget(now int64) {
	for range d.n {
		r := &d.order[d.first]
		if d.n <= d.most && now-r.at < d.window {
			return
		}
		old := *r
		*r = remembered{}
		d.first = (d.first + 1) % len(d.order)
		d.n--
		if old.task.state != stateEnded && d.n < d.most {
			d.order[(d.first+d.n)%len(d.order)] = remembered{old.task, now}
			d.n++
			continue
		}
		if d.byID[old.task.ID] == old.task {
			delete(d.byID, old.task.ID)
		}
	}
}

// remove forgets a task. Its place in the ring stays, and means nothing.
func (d *dedup) remove(t *Task) {
	if t.ID != "" && d.byID[t.ID] == t {
		delete(d.byID, t.ID)
	}
}
