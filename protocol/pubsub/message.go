package pubsub

import (
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// Message is what a subscription yields: a message, or a gap where messages are
// missing.
type Message[T any] struct {
	// Gap is not nil if this stands for messages that are missing; then only
	// Publisher is set beside it.
	Gap *Gap
	// Err is why the payload could not be decoded into Value; nil otherwise. Such a
	// message may be acked like any other.
	Err error

	Value     T
	Topic     string
	Key       string
	Publisher string // ID of the instance that published it
	Seq       uint64 // the publisher's count, from 1
	Time      time.Time
	Priority  uint8
	Replayed  bool // published before the subscription began
	Attempt   int  // of AtLeastOnce: which delivery this is, from 1

	headers journal.Pairs
	from    *member
}

// Header returns the value of a header, "" if there is none.
func (m *Message[T]) Header(name string) string {
	for n, v := range m.headers.All() {
		if string(n) == name {
			return string(v)
		}
	}
	return ""
}

// Gap says which messages of a publisher are missing from a subscription, and why.
type Gap struct {
	Reason   string // "overflow", "ttl", "conflated", "retention", "restart"
	From, To uint64 // numbers of the publisher, both included
	Count    uint64 // how many of them were this subscription's; 0 is unknown
}

// Ack says that the message is done. It has no effect in classes without acks, nor
// a second time.
func (m *Message[T]) Ack() {
	if m.from != nil {
		m.from.ack(m.Seq)
	}
}

// Nack says that the message failed: it is delivered again after delay or, if that
// is negative, after the next of 1 s, 5 s, 30 s and 2 min. The fifth delivery is the
// last.
func (m *Message[T]) Nack(delay time.Duration) {
	if m.from != nil {
		m.from.nack(m.Seq, delay)
	}
}

// Release gives the message back undone, to be delivered again at once. It counts as
// no attempt.
func (m *Message[T]) Release() {
	if m.from != nil {
		m.from.release(m.Seq)
	}
}
