package journal

import (
	"fmt"
	"time"

	"github.com/linkmesh/link/protocol/internal/varint"
)

// Message is a message to publish.
type Message struct {
	Topic string
	// Key groups the messages of a topic for conflation, last values and the members of
	// groups. It is optional.
	Key     string
	Headers []Pair
	// Trace is the publisher's trace context.
	Trace []Pair
	// Payload is copied by Append.
	Payload []byte
	// TTL is how long the message is worth delivering, in units of a microsecond. Zero means
	// without a bound.
	TTL time.Duration
	// Priority is from 1 to 255, higher first; zero means [DefaultPriority]. See [LaneOf].
	Priority uint8
	// Feed numbers the messages of a feed that several publishers send identically. It grows
	// from message to message, and [StartFeed] finds it. Zero means no feed.
	Feed uint64
}

// Pair is a header.
type Pair struct{ Name, Value string }

// Report is what became of a message when it was published.
type Report struct {
	// Matched is how many subscriptions asked for the message; a group counts as one.
	Matched int
	// Queued is how many of these are still to get the message.
	Queued int
	// Dropped is how many messages, this one or older ones, overflowed a subscription
	// because of it.
	Dropped int
}

// DefaultPriority is the priority of messages that do not set one.
const DefaultPriority = 128

// Lanes is how many lanes a subscription has. Each lane is in order. When several lanes
// have messages, they take turns 8:4:1.
const Lanes = 3

const (
	laneHigh = iota
	laneNormal
	laneLow
)

// LaneOf returns the lane of a priority: 0 (high) from 192 up, 2 (low) below 64, otherwise
// 1 (normal). A priority of zero means [DefaultPriority].
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

// LimitError says that something exceeds a bound.
type LimitError struct {
	// What names what is bounded, such as "ranges of an ack".
	What string
	Have int
	Max  int
	// Shared is set if all subscriptions of the log share the bound. A later attempt may
	// succeed.
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

// check returns an error if a message is invalid. It does not check the topic and the size.
func (m *Message) check() error {
	if len(m.Key) > MaxKey {
		return atMost("bytes of the key of a message", len(m.Key), MaxKey)
	}
	if m.TTL < 0 {
		return &OptionError{Field: "Message.TTL", Value: m.TTL, Problem: "is negative"}
	}
	if m.Feed > varint.Max {
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

// OptionError says that an option or a field has an invalid value.
type OptionError struct {
	Field   string
	Value   any
	Problem string
}

func (e *OptionError) Error() string {
	return fmt.Sprintf("journal: %s = %v: %s", e.Field, e.Value, e.Problem)
}
