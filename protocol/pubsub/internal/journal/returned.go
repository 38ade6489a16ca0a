package journal

// returned is what members of a group gave back, by number. It cannot be refused: whoever has it
// gave back as much, and it is counted with the backlog of the group, which finds no more room
// when there is much of it.
type returned struct {
	tasks   heap[task]
	room    int // for how many tasks
	backlog *backlog
}

func newReturned(b *backlog) returned {
	before := func(a, b task) bool { return a.seq < b.seq || a.seq == b.seq && a.gap != nil && b.gap == nil }
	return returned{tasks: heap[task]{less: before}, backlog: b}
}

func (r *returned) len() int { return len(r.tasks.list) }

// first returns the one with the least number.
func (r *returned) first() task { return r.tasks.list[0] }

func (r *returned) push(t task) {
	if r.len() == r.room {
		r.resize(max(2*r.room, queueStart))
	}
	r.tasks.push(t)
}

func (r *returned) pop() task {
	t := r.tasks.pop()
	switch n := r.len(); {
	case n == 0:
		r.resize(0)
	case n <= r.room/4 && r.room > queueStart:
		r.resize(r.room / 2)
	}
	return t
}

// drop forgets all of it.
func (r *returned) drop() {
	r.tasks.list = nil
	r.resize(0)
}

func (r *returned) resize(room int) {
	r.backlog.need(r.room*taskCost, room*taskCost)
	if r.room = room; room == 0 {
		r.tasks.list = nil
		return
	}
	r.tasks.list = append(make([]task, 0, room), r.tasks.list...)
}
