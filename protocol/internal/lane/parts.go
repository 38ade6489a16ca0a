package lane

import (
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
type Parts struct{ pool *share.Pool }

// Of returns the room of a peer. Its Release must follow when the
// stream has ended and the [Joiner] was told to drop what it had.
func (p *Parts) Of(peer link.Peer) *share.Holder {
	return p.pool.Holder(share.KeyOf(peer.Identity.String(), peer.Addr, peer.Advisory))
}

type partsKey struct{}

// PartsOf returns the parts that a node has, of all patterns together.
func PartsOf(node *link.Node) *Parts {
	p, _ := node.Extension(partsKey{}, func() any { // nothing else is kept there
		return &Parts{share.NewPool(share.Config{Limit: MaxParts, Floor: leastParts})}
	}).(*Parts)
	return p
}

// leastParts is what each may have as long as it is free: the longest frame, of one record of
// 4 MiB and of what fits beside it.
const leastParts = 4<<20 + MaxFrame
