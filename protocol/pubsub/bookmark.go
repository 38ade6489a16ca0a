package pubsub

import (
	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// bookmark is the encoded form of bookmarks.
type bookmark struct {
	Version   uint8             `cbor:"1,keyasint"`
	Positions map[string][]byte `cbor:"2,keyasint"`
}

const bookmarkVersion = 1

// Bookmark returns the position of the subscription at each of its publishers. Messages
// that were yielded, and in the class AtLeastOnce also acked, are before it. Pass it to
// [Resume] to go on there in another run of the program, within what publishers keep by
// then. It is meant for subscriptions that are not members of a group.
func (s *Subscription[T]) Bookmark() []byte {
	mark := bookmark{bookmarkVersion, map[string][]byte{}}
	for id, p := range s.box.Marks() {
		mark.Positions[id] = p.Append(nil)
	}
	b, err := frame.Marshal(mark)
	if err != nil {
		return nil // cannot happen: a map of bytes can be encoded
	}
	return b
}

// Resume goes on where [Subscription.Bookmark] was taken. Messages that a publisher no
// longer keeps are reported as a gap. A publisher that the bookmark does not know is heard
// from its first message on. Messages that a publisher had not delivered when it ended are
// lost with it, and no gap reports them.
func Resume(mark []byte) SubscribeOption {
	return subscribeOption(func(s *settings) {
		var b bookmark
		err := frame.Unmarshal(mark, &b)
		if err == nil && b.Version != bookmarkVersion {
			err = link.Errorf(link.InvalidArgument, "version %d, this is %d", b.Version, bookmarkVersion)
		}
		s.marks = make(map[string]journal.Position)
		for id, raw := range b.Positions {
			p, rest, bad := journal.ParsePosition(raw)
			if bad != nil || len(rest) > 0 {
				err = journal.ErrPosition
			}
			s.marks[id] = p
		}
		if err != nil {
			s.err = link.Errorf(link.InvalidArgument, "subscribe: the bookmark is malformed: %w", err)
		}
	})
}
