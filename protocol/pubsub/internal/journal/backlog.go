package journal

import (
	"sync/atomic"
	"unsafe"

	pool "github.com/linkmesh/link/internal/share"
)

// backlog counts what the lists of numbers take that wait for a subscriber, by the room that
// is made for them: so it costs nothing for most messages. A list that finds no more room does
// without, in the way of its class. The lock of the share guards it.
type backlog struct {
	who     pool.Key
	holder  *pool.Holder // holds a part of Options.Backlog
	held    int64
	crowded *atomic.Uint64
}

const (
	// uncounted is the part of each list that is not counted, in bytes: what a queue keeps
	// while it is idle, and as much as the default limit takes.
	uncounted = queueIdle * numberCost

	numberCost = int(unsafe.Sizeof(uint64(0)))
	taskCost   = int(unsafe.Sizeof(task{}))
	gapCost    = int64(unsafe.Sizeof(Gap{})) // of a task
	// placeCost is what a place of Latest takes, with what its key is found by.
	placeCost = int(unsafe.Sizeof(place{})) + 40
)

func (l *Log) backlogOf(who pool.Key) *backlog {
	return &backlog{who: who, holder: l.backlogs.Holder(who), crowded: &l.crowded}
}

func counted(bytes int) int64 { return int64(max(bytes-uncounted, 0)) }

// grow makes room for a list that took some bytes to take others, and reports whether the
// subscriber may have as much.
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

// need is grow for what has no other way: it counts, whatever there is.
func (b *backlog) need(from, to int) {
	b.add(counted(to) - counted(from))
}

// add counts bytes, whatever there is, or gives them back.
func (b *backlog) add(bytes int64) {
	b.holder.Add(bytes)
	b.held += bytes
}

// end gives back all of it. Nil has nothing.
func (b *backlog) end() {
	if b != nil {
		b.holder.Give(b.held)
		b.holder.Release()
		b.held = 0
	}
}

// room reports whether a queue has room for one more number, or may have more room.
func (f *feed) room(q *queue) bool {
	return q.n < len(q.items) || f.backlog.grow(len(q.items)*numberCost, q.longer()*numberCost)
}

// holds reports whether a member has room for one more task, or may have more room.
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

// emptied lets go of the room of tasks when there are none.
func (c *Cursor) emptied() {
	if len(c.tasks) == 0 {
		c.backlog.grow(c.taskRoom*taskCost, 0)
		c.tasks, c.taskRoom = nil, 0
	}
}
