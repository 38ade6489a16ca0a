package journal

import (
	"errors"
	"strings"

	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

// topic is a name with a number. The same name has another topic after its number was
// taken over and it came back.
type topic struct {
	name string
	id   uint32
	turn uint32 // which owner of the number this is; from 1

	// guarded by the lock of the log
	matched    bool
	generation uint64   // the index's, when matches were found
	matches    []*share // nil if there was no room to remember them
	recent     bool     // published to since the hand went by
}

// topics gives numbers to names. Of at most [MaxTopics], one that was not published to
// for a round makes way (the clock algorithm).
type topics struct {
	byName map[string]*topic
	byID   []*topic
	last   *topic
	hand   int
	kept   int // matches remembered
}

// checkTopic accepts what users may publish to and what is reserved to link: keeping
// these apart is the owner's business.
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

// get returns the topic of a name; fresh is one that was not there.
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
	n.matches = append(had[:0], matches...) // in its room: subscriptions come and go all the time
	if len(had) > len(matches) {
		clear(had[len(matches):])
	}
	n.matched = true
	t.kept += len(matches)
}
