package journal

import (
	"errors"
	"strings"

	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

// topic is a name with a number. If the number is taken over, and the name comes back later,
// it gets another topic.
type topic struct {
	name string
	id   uint32
	// turn counts the owners of the number, from 1 for the first.
	turn uint32

	// The lock of the log guards the fields below.

	matched bool
	// generation is that of the index when matches were found.
	generation uint64
	// matches is nil if there was no room to remember them.
	matches []*share
	// recent is set if the topic was published to since the hand passed it.
	recent bool
}

// topics gives numbers to names, at most [MaxTopics]. A new name takes the number of a topic that
// was not published to for a round (the clock algorithm).
type topics struct {
	byName map[string]*topic
	byID   []*topic
	last   *topic
	hand   int
	// kept is how many matches are remembered.
	kept int
}

// checkTopic accepts topics that users may publish to, and topics that are reserved for link.
// The owner of the log keeps these apart.
func checkTopic(name string) error {
	if err := subject.Valid(name); err != nil && !errors.Is(err, subject.ErrReserved) {
		return err
	}
	return nil
}

func checkPattern(pattern string) error {
	if err := subject.ValidPattern(pattern); err != nil && !errors.Is(err, subject.ErrReserved) {
		return err
	}
	return nil
}

// get returns the topic of a name. fresh reports whether the topic is new.
func (t *topics) get(name string) (found *topic, fresh bool, err error) {
	if t.last != nil && t.last.name == name {
		return t.last, false, nil
	}
	found = t.byName[name]
	if found == nil {
		if err := checkTopic(name); err != nil {
			return nil, false, err
		}
		found, fresh = t.add(strings.Clone(name)), true
	}
	found.recent = true
	t.last = found
	return found, fresh, nil
}

func (t *topics) add(name string) *topic {
	n := &topic{name: name, id: uint32(len(t.byID)), turn: 1}
	if len(t.byID) < MaxTopics {
		t.byID = append(t.byID, n)
	} else {
		for t.byID[t.hand].recent {
			t.byID[t.hand].recent = false
			t.hand = (t.hand + 1) % MaxTopics
		}
		old := t.byID[t.hand]
		delete(t.byName, old.name)
		t.forget(old)
		n.id, n.turn = old.id, old.turn+1
		t.byID[t.hand] = n
		t.hand = (t.hand + 1) % MaxTopics
	}
	if t.byName == nil {
		t.byName = make(map[string]*topic)
	}
	t.byName[name] = n
	return n
}

// forget drops the remembered matches of a topic.
func (t *topics) forget(n *topic) {
	t.kept -= len(n.matches)
	n.matches, n.matched = nil, false
}

// remember keeps the matches of a topic if there is room.
func (t *topics) remember(n *topic, generation uint64, matches []*share) {
	had := n.matches
	t.forget(n)
	n.generation = generation
	if t.kept+len(matches) > matchBudget {
		return
	}
	if cap(had) > 2*len(matches)+queueStart {
		had = nil
	}
	// Reuse the slice, because subscriptions come and go all the time.
	n.matches = append(had[:0], matches...)
	if len(had) > len(matches) {
		clear(had[len(matches):])
	}
	n.matched = true
	t.kept += len(matches)
}
