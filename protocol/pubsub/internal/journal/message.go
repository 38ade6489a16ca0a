package journal

import (
	"fmt"
	"time"
)

// Message is what a publisher says.
type Message struct {
	Topic string
	// Key groups messages of a topic: conflation, last values and members of groups
	// go by it. Optional.
	Key     string
	Headers []Pair
	Trace   []Pair // the publisher's trace context
	Payload []byte // copied by Append
	// TTL is how long the message is worth delivering; zero is without end. Microseconds count.
	TTL time.Duration
	// Priority is from 1 to 255, higher first; zero is [DefaultPriority]. See [LaneOf].
	Priority uint8
	// Feed numbers the messages of a feed that several publishers send, each the same:
	// it grows from message to message, and [StartFeed] finds it. Zero means no feed.
	Feed uint64
}

// Pair is a header.
type Pair struct{ Name, Value string }

// Report is what became of a message when it was published.
type Report struct {
	Matched int // subscriptions that asked for it; a group counts as one
	Queued  int // how many of these have the message before them
	Dropped int // messages, this one or older ones, that overflowed a subscription because of it
}

// DefaultPriority is that of messages that do not say.
const DefaultPriority = 128

// Lanes is how many lanes a subscription has. Each is in order; when several have
// messages, the lanes take turns 8:4:1.
const Lanes = 3

const (
	laneHigh = iota
	laneNormal
	laneLow
)

// LaneOf returns the lane of a priority: 0, high, from 192 up; 2, low, below 64;
// otherwise 1.
func LaneOf(priority uint8) int {
	switch {
	case priority == 0:
		return laneNormal
	case priority >= 192:
		return laneHigh
	case priority < 64:
		return laneLow
	default:
		return laneNormal
	}
}

// LimitError says that something is beyond a bound.
type LimitError struct {
	What string // "key of message", …
	Have int
	Max  int
	// Shared says that the bound is one of the log and all its subscriptions: trying
	// later may help.
	Shared bool
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("journal: %s: %d, at most %d are allowed", e.What, e.Have, e.Max)
}

func atMost(what string, have, limit int) error {
	if have > limit {
		return &LimitError{What: what, Have: have, Max: limit}
	}
	return nil
}

// allAtMost is atMost for a bound that subscriptions share.
func allAtMost(what string, have, limit int) error {
	if have > limit {
		return &LimitError{What: what, Have: have, Max: limit, Shared: true}
	}
	return nil
}

// check returns what is wrong with a message, its topic and size excepted.
func (m *Message) check() error {
	if len(m.Key) > MaxKey {
		return atMost("bytes of the key of a message", len(m.Key), MaxKey)
	}
	if m.TTL < 0 {
		return &OptionError{Field: "Message.TTL", Value: m.TTL, Problem: "is negative"}
	}
	if m.Feed > maxVarint {
		return &OptionError{Field: "Message.Feed", Value: m.Feed, Problem: "is beyond 2^62-1"}
	}
	if m.Headers == nil && m.Trace == nil {
		return nil
	}
	if err := checkPairs("headers", m.Headers); err != nil {
		return err
	}
	return checkPairs("trace pairs", m.Trace)
}

func checkPairs(what string, pairs []Pair) error {
	if len(pairs) > MaxPairs {
		return &LimitError{What: what + " of a message", Have: len(pairs), Max: MaxPairs}
	}
	n := 0
	for _, p := range pairs {
		n += len(p.Name) + len(p.Value)
	}
	if n > MaxPairBytes {
		return &LimitError{What: "bytes of the " + what + " of a message", Have: n, Max: MaxPairBytes}
	}
	return nil
}

// OptionError says that an option or a field has a value it cannot have.
type OptionError struct {
	Field   string
	Value   any
	Problem string
}

func (e *OptionError) Error() string {
	return fmt.Sprintf("journal: %s = %v: %s", e.Field, e.Value, e.Problem)
}
