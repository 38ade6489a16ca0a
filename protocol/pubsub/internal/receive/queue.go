package receive

import (
	"sync"

	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/protocol/internal/flow"
)

// queue holds the frames that were received and not read, in order for each publisher. While the
// streams last, it has room for all that their publishers may send by the credit that they have.
// Of streams that have ended, it keeps what is among its first flow.Frames, and beyond these what
// there is room for; see [arrivals].
type queue struct {
	// filled wakes the goroutine that reads the subscription.
	filled notify.Flag

	mu   sync.Mutex // guards the field below
	list fifo[*frames]
}

// push appends a frame. It never waits.
func (q *queue) push(f *frames) {
	q.mu.Lock()
	q.list.push(f)
	first := q.list.len() == 1
	q.mu.Unlock()
	if first {
		q.filled.Set()
	}
}

// pop removes the first frame and returns it; nil if there is none.
func (q *queue) pop() *frames {
	q.mu.Lock()
	if q.list.len() == 0 {
		q.mu.Unlock()
		return nil
	}
	f := q.list.pop()
	var moved *Conn
	if q.list.len() >= flow.Frames {
		moved = q.list.at(flow.Frames - 1).conn
	}
	q.mu.Unlock()
	if moved != nil {
		// The stream may have ended, and this may have been its last frame beyond the first.
		moved.shrunk.Set()
	}
	return f
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.list.len()
}

// beyond returns how many bytes the frames of a connection take that are behind the first flow.Frames;
// 0 if there are none.
func (q *queue) beyond(c *Conn) (bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := flow.Frames; i < q.list.len(); i++ {
		if f := q.list.at(i); f.conn == c {
			bytes += len(f.body) + frameCost
		}
	}
	return bytes
}

// cut removes the frames of a connection that are behind the first flow.Frames, and returns them.
func (q *queue) cut(c *Conn) (out []*frames) {
	q.mu.Lock()
	defer q.mu.Unlock()
	kept := flow.Frames
	for i := flow.Frames; i < q.list.len(); i++ {
		f := q.list.at(i)
		if f.conn == c {
			out = append(out, f)
			continue
		}
		q.list.set(kept, f)
		kept++
	}
	q.list.truncate(kept)
	return out
}

// fifo is a list that grows at the end and shrinks at the front, and keeps its memory.
type fifo[E any] struct {
	list []E
	head int
}

func (l *fifo[E]) len() int       { return len(l.list) - l.head }
func (l *fifo[E]) at(i int) E     { return l.list[l.head+i] }
func (l *fifo[E]) set(i int, e E) { l.list[l.head+i] = e }
func (l *fifo[E]) push(e E)       { l.list = append(l.list, e) }

// pop removes the first element. There must be one.
func (l *fifo[E]) pop() E {
	var none E
	e := l.list[l.head]
	l.list[l.head] = none
	if l.head++; l.head*2 >= len(l.list) {
		n := copy(l.list, l.list[l.head:])
		clear(l.list[n:])
		l.list, l.head = l.list[:n], 0
	}
	return e
}

// truncate removes all elements but the first n, if there are more.
func (l *fifo[E]) truncate(n int) {
	if n < l.len() {
		clear(l.list[l.head+n:])
		l.list = l.list[:l.head+n]
	}
}
