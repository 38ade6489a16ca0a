package flow

import (
	"sync"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/internal/share"
)

// MaxParts bounds the bytes of parts that a node keeps, for frames whose ends have not come, of
// all peers that it has opened streams to. Limits.InFlightBytes lets messages take as much.
const MaxParts = 256 << 20

// Joiner joins frames that came in parts.
type Joiner struct {
	// Most bounds the bytes of a frame.
	Most int
	// Room counts parts until their frame is whole. Nil means that they are not counted.
	Room *share.Holder

	parts []byte
}

// Part adds a part. The error is ResourceExhausted if the frame becomes too long, or if the
// holder of Room has as many bytes here as it may.
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

// Whole returns the frame that ends with body. It returns body itself if there were no parts.
func (j *Joiner) Whole(body []byte) []byte {
	if len(j.parts) == 0 {
		return body
	}
	whole := append(j.parts, body...)
	j.Drop()
	return whole
}

// Drop discards the parts of a frame whose end will not come.
func (j *Joiner) Drop() {
	if j.Room != nil {
		j.Room.Give(int64(len(j.parts)))
	}
	j.parts = nil
}

// Parts counts the parts of frames that a node keeps of the peers that it has opened streams
// to. Each peer, or its address if names are advisory, may have as much as it leaves free, and
// one frame whatever its share.
type Parts struct {
	pool *share.Pool

	mu sync.Mutex // guards the field below
	// freed wakes those who wait when a turn ends.
	freed notify.Broadcast
}

// Turn is room for a whole frame. It is taken before the first part, so that a frame that was
// begun can be ended however many others wait. It is used by one goroutine at a time.
type Turn struct {
	Parts *Parts
	Room  *share.Holder
	// Size is the bytes of the longest frame.
	Size int
	// Waits is called before Take waits, if it is not nil.
	Waits func()

	taken bool
}

// lookAgain is how often waiting turns check for room that was released other than by a turn.
const lookAgain = time.Second

// Try takes the room if it is free, unless it was taken before. It reports whether the turn has it.
func (t *Turn) Try() bool {
	t.taken = t.taken || t.Room.Take(int64(t.Size)) == nil
	return t.taken
}

// Take takes the room, waiting for it if necessary, unless it was taken before. It returns false
// if done is closed first.
func (t *Turn) Take(done <-chan struct{}) bool {
	for !t.taken {
		freed := t.Parts.wait()
		if t.Try() {
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

// End releases the room, if it was taken.
func (t *Turn) End() {
	if !t.taken {
		return
	}
	t.taken = false
	t.Room.Give(int64(t.Size))
	t.Parts.mu.Lock()
	defer t.Parts.mu.Unlock()
	t.Parts.freed.All()
}

// wait returns a channel that is closed when a turn ends.
func (p *Parts) wait() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.freed.C()
}

// Of returns the room of a peer. Its Release must be called when the stream has ended and the
// [Joiner] has dropped its parts.
func (p *Parts) Of(peer link.Peer) *share.Holder {
	return p.pool.Holder(KeyOf(peer))
}

// KeyOf returns the key of the share that a peer's use of a node's resources counts against.
func KeyOf(peer link.Peer) share.Key {
	return share.KeyOf(peer.Identity.String(), peer.Addr, peer.Advisory)
}

type partsKey struct{}

// PartsOf returns the Parts of a node, which all patterns share.
func PartsOf(node *link.Node) *Parts {
	p, _ := link.HostOf(node).Extension(partsKey{}, func() any {
		return &Parts{pool: share.NewPool(share.Config{Limit: MaxParts, Floor: leastParts})}
	}).(*Parts)
	return p
}

// leastParts is how many bytes each peer may have as long as they are free: the longest frame,
// with one record of 4 MiB and what fits besides it.
const leastParts = 4<<20 + MaxFrame
