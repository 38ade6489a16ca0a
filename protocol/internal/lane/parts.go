package lane

import (
	"sync"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/share"
)

// MaxParts is how many bytes of parts a node has here of all whom it has opened streams to: of
// frames whose ends have not come. It is as much as Limits.InFlightBytes lets messages take.
const MaxParts = 256 << 20

// Joiner puts frames together that came in parts.
type Joiner struct {
	Most int // bytes of a frame
	// Room is where parts are counted until their frame is whole; nil is nowhere.
	Room *share.Holder

	parts []byte
}

// Part takes a part. The error is ResourceExhausted if the frame becomes too long, or if
// whom Room is of has as much here as it may.
func (j *Joiner) Part(body []byte) error {
	if len(j.parts)+len(body) > j.Most {
		return link.Errorf(link.ResourceExhausted, "a frame of more than %d bytes in parts", j.Most)
	}
	if j.Room != nil {
		if err := j.Room.Take(int64(len(body))); err != nil {
			return link.Errorf(link.ResourceExhausted, "parts of frames whose ends have not come: %s has %d bytes here: %w", j.Room.Name(), j.Room.Held(), err)
		}
	}
	j.parts = append(j.parts, body...)
	return nil
}

// Whole returns the frame that body is the end of: body itself if there were no parts.
func (j *Joiner) Whole(body []byte) []byte {
	if len(j.parts) == 0 {
		return body
	}
	whole := append(j.parts, body...)
	j.Drop()
	return whole
}

// Drop forgets the parts of a frame whose end does not come.
func (j *Joiner) Drop() {
	if j.Room != nil {
		j.Room.Give(int64(len(j.parts)))
	}
	j.parts = nil
}

// Parts counts the parts of frames that a node has of those whom it has opened streams to.
// Each of them, or its address where names are free, may have as much as it leaves free, and one
// frame.
type Parts struct {
	pool *share.Pool

	mu    sync.Mutex    // guards the field below
	freed chan struct{} // closed when a turn ends; nil: nobody waits
}

// Turn is room for a whole frame, taken before its first part: whoever has begun one can end it,
// however many others wait for theirs. It belongs to one goroutine.
type Turn struct {
	Parts *Parts
	Room  *share.Holder
	Size  int // of the longest frame
	// Waits is called before Take waits, if it is not nil.
	Waits func()

	taken bool
}

// lookAgain is how often those who wait for a turn look for room that was given back otherwise.
const lookAgain = time.Second

// Take waits until there is room, unless there is already, or until done is closed, when it
// returns false.
func (t *Turn) Take(done <-chan struct{}) bool {
	for !t.taken {
		freed := t.Parts.wait()
		if t.taken = t.Room.Take(int64(t.Size)) == nil; t.taken {
			break
		}
		if t.Waits != nil {
			t.Waits()
		}
		again := time.NewTimer(lookAgain)
		select {
		case <-freed:
		case <-again.C:
		case <-done:
			again.Stop()
			return false
		}
		again.Stop()
	}
	return true
}

// End gives the room back, if it was taken.
func (t *Turn) End() {
	if !t.taken {
		return
	}
	t.taken = false
	t.Room.Give(int64(t.Size))
	t.Parts.mu.Lock()
	defer t.Parts.mu.Unlock()
	if t.Parts.freed != nil {
		close(t.Parts.freed)
		t.Parts.freed = nil
	}
}

// wait returns a channel that is closed when a turn ends.
func (p *Parts) wait() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.freed == nil {
		p.freed = make(chan struct{})
	}
	return p.freed
}

// Of returns the room of a peer. Its Release must follow when the
// stream has ended and the [Joiner] was told to drop what it had.
func (p *Parts) Of(peer link.Peer) *share.Holder {
	return p.pool.Holder(KeyOf(peer))
}

// KeyOf is whose share of what a node has a peer's use counts against.
func KeyOf(peer link.Peer) share.Key {
	return share.KeyOf(peer.Identity.String(), peer.Addr, peer.Advisory)
}

type partsKey struct{}

// PartsOf returns the parts that a node has, of all patterns together.
func PartsOf(node *link.Node) *Parts {
	p, _ := node.Extension(partsKey{}, func() any { // nothing else is kept there
		return &Parts{pool: share.NewPool(share.Config{Limit: MaxParts, Floor: leastParts})}
	}).(*Parts)
	return p
}

// leastParts is what each may have as long as it is free: the longest frame, of one record of
// 4 MiB and of what fits beside it.
const leastParts = 4<<20 + MaxFrame
