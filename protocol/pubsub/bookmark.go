package pubsub

import (
	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// bookmarks maps the IDs of publishers to how far a subscription had come at each.
type bookmarks map[string]journal.Position

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
	s.mu.Lock()
	for id, p := range s.marks {
		mark.Positions[id] = p.Append(nil)
	}
	for id, p := range s.past {
		mark.Positions[id] = p.position.Append(nil)
	}
	for m := range s.members.All() {
		if p, ok := m.position(); ok {
			mark.Positions[m.ID] = p.Append(nil)
		}
	}
	s.mu.Unlock()
	b, err := control.Append(nil, mark)
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
		err := control.Decode(mark, &b)
		if err == nil && b.Version != bookmarkVersion {
			err = link.Errorf(link.InvalidArgument, "version %d, this is %d", b.Version, bookmarkVersion)
		}
		s.marks = bookmarks{}
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

// apply lets a new member go on at its bookmark.
func (b bookmarks) apply(m *member) {
	if b == nil {
		return
	}
	p, ok := b[m.ID]
	if !ok {
		if m.want.Start == startNew {
			m.want.Start = startAll
		}
		return
	}
	m.goOn(p)
}

// position returns how far the subscription has come at the publisher, and whether that is
// known.
func (m *member) position() (journal.Position, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.positionLocked()
	return p, p.Epoch != 0
}
