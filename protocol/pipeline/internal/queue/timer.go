package queue

const (
	delayTimer  = 0
	expiryTimer = 1
)

// timers is a heap of tasks by the time at which they are due.
type timers struct {
	kind  int
	tasks []*Task
}

// set adds a task that is due at a time, or moves it to that time.
func (h *timers) set(t *Task, at int64) {
	t.at[h.kind] = at
	if i := t.idx[h.kind]; i >= 0 {
		h.up(i)
		h.down(t.idx[h.kind])
		return
	}
	t.idx[h.kind] = len(h.tasks)
	h.tasks = append(h.tasks, t)
	h.up(len(h.tasks) - 1)
}

// remove removes a task, if it is in the heap.
func (h *timers) remove(t *Task) {
	i := t.idx[h.kind]
	if i < 0 {
		return
	}
	last := len(h.tasks) - 1
	h.swap(i, last)
	h.tasks[last] = nil
	h.tasks = h.tasks[:last]
	t.idx[h.kind] = -1
	if i < last {
		moved := h.tasks[i]
		h.up(i)
		h.down(moved.idx[h.kind])
	}
}

// due returns the first task if it is due, or nil.
func (h *timers) due(now int64) *Task {
	if len(h.tasks) == 0 || h.tasks[0].at[h.kind] > now {
		return nil
	}
	return h.tasks[0]
}

// next returns when the first task is due, or 0 if there is none.
func (h *timers) next() int64 {
	if len(h.tasks) == 0 {
		return 0
	}
	return h.tasks[0].at[h.kind]
}

func (h *timers) less(i, j int) bool { return h.tasks[i].at[h.kind] < h.tasks[j].at[h.kind] }

func (h *timers) swap(i, j int) {
	h.tasks[i], h.tasks[j] = h.tasks[j], h.tasks[i]
	h.tasks[i].idx[h.kind], h.tasks[j].idx[h.kind] = i, j
}

func (h *timers) up(i int) {
	for i > 0 && h.less(i, (i-1)/2) {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (h *timers) down(i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(h.tasks); c++ {
			if h.less(c, least) {
				least = c
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}
