package journal

import "slices"

// returned holds the tasks that members of a group gave back, by number. They cannot be refused:
// the member that had them frees as much memory. Their memory is charged to the members whose
// tasks made it grow. When it shrinks, the members who paid first are let off first.
type returned struct {
	log   *Log
	tasks heap[task]
	// room is the capacity of tasks, and gaps is how many of them are gaps.
	room   int
	gaps   int
	payers []*backlog
}

func newReturned(l *Log) returned {
	before := func(a, b task) bool { return a.seq < b.seq || a.seq == b.seq && a.gap != nil && b.gap == nil }
	return returned{log: l, tasks: heap[task]{less: before}}
}

func (r *returned) len() int { return len(r.tasks.list) }

// first returns the task with the least number.
func (r *returned) first() task { return r.tasks.list[0] }

// push adds a task that a member with this backlog gives back.
func (r *returned) push(t task, from *backlog) {
	if r.len() == r.room {
		r.resize(r.room+max(r.room/4, queueStart), from)
	}
	if t.gap != nil {
		r.gaps++
		r.pay(gapCost, from)
	}
	r.tasks.push(t)
}

func (r *returned) pop() task {
	t := r.tasks.pop()
	if t.gap != nil {
		r.gaps--
		r.letOff(gapCost)
	}
	switch n := r.len(); {
	case n == 0:
		r.resize(0, nil)
	case n <= r.room/2 && r.room > 2*queueStart:
		r.resize(n+n/4, nil)
	}
	return t
}

// drop drops all tasks.
func (r *returned) drop() {
	r.letOff(int64(r.gaps) * gapCost)
	r.gaps = 0
	r.resize(0, nil)
}

// resize makes room for so many tasks. If that takes more memory, the owner of from pays.
func (r *returned) resize(room int, from *backlog) {
	if more := counted(room*taskCost) - counted(r.room*taskCost); more > 0 {
		r.pay(more, from)
	} else {
		r.letOff(-more)
	}
	if r.room = room; room == 0 {
		r.tasks.list = nil
		return
	}
	r.tasks.list = append(make([]task, 0, room), r.tasks.list...)
}

// pay charges bytes to the owner of a backlog. That backlog may end before they are given back.
func (r *returned) pay(bytes int64, who *backlog) {
	n := len(r.payers)
	if n == 0 || r.payers[n-1].who != who.who {
		i := slices.IndexFunc(r.payers, func(p *backlog) bool { return p.who == who.who })
		if i < 0 {
			r.payers, i = append(r.payers, r.log.backlogOf(who.who)), n
		}
		payer := r.payers[i]
		r.payers = append(slices.Delete(r.payers, i, i+1), payer)
	}
	r.payers[len(r.payers)-1].add(bytes)
}

// letOff gives bytes back to those who paid first.
func (r *returned) letOff(bytes int64) {
	for bytes > 0 {
		first := r.payers[0]
		n := min(bytes, first.held)
		first.add(-n)
		if bytes -= n; first.held == 0 {
			first.end()
			r.payers[0] = nil
			r.payers = r.payers[1:]
		}
	}
}
