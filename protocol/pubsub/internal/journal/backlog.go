package journal

import (
	"sync/atomic"
	"unsafe"

	pool "github.com/linkmesh/link/internal/share"
)

// backlog counts the memory of the lists of message numbers that wait for a subscriber. It
// counts the capacity of the lists, which most messages do not change. A list that may not
// grow falls back as its class prescribes. The lock of the share guards it.
type backlog struct {
	who pool.Key
	// holder holds a part of Options.Backlog.
	holder  *pool.Holder
	held    int64
	crowded *atomic.Uint64
}

const (
	// uncounted is how many bytes of each list are not counted: what an idle queue keeps,
	// which is also what the default limit takes.
	uncounted = queueIdle * numberCost

	numberCost = int(unsafe.Sizeof(uint64(0)))
	taskCost   = int(unsafe.Sizeof(task{}))
	// gapCost is what the gap of a task takes.
	gapCost = int64(unsafe.Sizeof(Gap{}))
	// placeCost is what a place of Latest takes, including its entry in the index of keys.
	placeCost = int(unsafe.Sizeof(place{})) + 40
)

func (l *Log) backlogOf(who pool.Key) *backlog {
	return &backlog{who: who, holder: l.backlogs.Holder(who), crowded: &l.crowded}
}

func counted(bytes int) int64 { return int64(max(bytes-uncounted, 0)) }

// grow counts a list whose capacity changes from one number of bytes to another, and reports
// whether the subscriber may have as much. If not, it counts nothing.
func (b *backlog) grow(from, to int) bool {
	more := counted(to) - counted(from)
	if more > 0 && b.holder.Take(more) != nil {
		b.crowded.Add(1)
		return false
	}
	if more < 0 {
		b.holder.Give(-more)
	}
	b.held += more
	return true
}

// need is grow for a list that must grow: it counts the bytes even beyond the limit.
func (b *backlog) need(from, to int) {
	b.add(counted(to) - counted(from))
}

// add counts bytes even beyond the limit, or gives them back if negative.
func (b *backlog) add(bytes int64) {
	b.holder.Add(bytes)
	b.held += bytes
}

// end gives back everything that the backlog holds. It does nothing for a nil backlog.
func (b *backlog) end() {
	if b != nil {
		b.holder.Give(b.held)
		b.holder.Release()
		b.held = 0
	}
}

// room reports whether a queue has room for one more number, or may grow.
func (f *feed) room(q *queue) bool {
	return q.n < len(q.items) || f.backlog.grow(len(q.items)*numberCost, q.longer()*numberCost)
}

// holds reports whether a member has room for one more task. It grows the list if it may.
func (c *Cursor) holds() bool {
	if len(c.tasks) < cap(c.tasks) {
		return true
	}
	n := max(2*len(c.tasks), queueStart)
	if c.full = c.full || !c.backlog.grow(c.taskRoom*taskCost, n*taskCost); c.full {
		return false
	}
	c.tasks, c.taskRoom = append(make([]task, 0, n), c.tasks...), n
	return true
}

// emptied frees the list of tasks if it is empty.
func (c *Cursor) emptied() {
	if len(c.tasks) == 0 {
		c.backlog.grow(c.taskRoom*taskCost, 0)
		c.tasks, c.taskRoom = nil, 0
	}
}
