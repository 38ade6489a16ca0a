package pubsub

import (
	"context"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
	"github.com/linkmesh/link/tracing"
)

// Message is what a subscription yields: a message, or a gap where messages are
// missing. It is a value: keep it and copy it as you like; what one copy says of the
// message, such as [Message.Ack], all have said.
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
	Publisher string // ID of the instance that published it; see Peer
	Seq       uint64 // the publisher's count, from 1
	Feed      uint64 // the feed's count, 0 if the publisher gave none
	Time      time.Time
	Priority  uint8
	Replayed  bool // published before the subscription began
	realm     realm
	Attempt   int // for AtLeastOnce: which delivery this is, from 1

	pairs *pairs // nil: none
	conn  *conn
}

// pairs are the parts of a message that few have.
type pairs struct{ headers, trace journal.Pairs }

func (m *Message[T]) allPairs() pairs {
	if m.pairs == nil {
		return pairs{}
	}
	return *m.pairs
}

// Peer returns who published the message, as its connection has proved.
func (m *Message[T]) Peer() link.Peer {
	if m.conn == nil {
		return link.Peer{}
	}
	return m.conn.peer
}

// Header returns the value of a header, "" if there is none.
func (m *Message[T]) Header(name string) string { return string(m.header(name)) }

func (m *Message[T]) header(name string) []byte {
	for n, v := range m.allPairs().headers.All() {
		if string(n) == name {
			return v
		}
	}
	return nil
}

// Context returns ctx with the trace context and baggage that the publisher had, for
// what is done because of the message. Of a publisher in another trust domain it takes neither. [SubscribeFunc] does it with a span.
func (m *Message[T]) Context(ctx context.Context, tracer *tracing.Tracer) (context.Context, tracing.MessageSpan) {
	var carrier tracing.Carrier
	for k, v := range m.allPairs().trace.All() {
		carrier = append(carrier, tracing.Pair{Key: string(k), Value: string(v)})
	}
	how := tracing.Linked
	if m.conn != nil && m.conn.foreign {
		how = tracing.Foreign
	}
	return tracer.StartProcess(ctx, m.destination(), carrier, how)
}

// destination names the topic in spans, without what the publisher put below it: such
// tokens are data, and there may be millions.
func (m *Message[T]) destination() string {
	if m.conn == nil {
		return tracing.OtherMethod
	}
	return m.conn.member.topic
}

// Gap says which messages of a publisher are missing from a subscription, and why.
type Gap struct {
	// Reason is "overflow", "ttl", "conflated", "retention", "restart", "gone",
	// "refused", "switched", "drained" or "lost"; docs/guarantees.md says when each is told.
	Reason   string
	From, To uint64 // numbers of the publisher, both included
	Count    uint64 // how many of them were this subscription's; 0 is unknown
}

// Ack says that the message is done. It has no effect in classes without acks, nor
// a second time.
func (m *Message[T]) Ack() {
	if m.acked() {
		m.conn.member.ack(m.conn, m.Seq)
	}
}

// AckThrough acks the message and all of its publisher with lower numbers that were
// delivered before it.
func (m *Message[T]) AckThrough() {
	if m.acked() {
		m.conn.member.ackThrough(m.conn, m.Seq)
	}
}

// Nack says that the message failed: it is delivered again after delay or, if that
// is negative, after the next of 1 s, 5 s, 30 s and 2 min. What has failed
// five times goes to [DeadLetters]. Cause is kept for those, up to 256
// bytes.
func (m *Message[T]) Nack(delay time.Duration, cause string) {
	if m.acked() {
		m.conn.member.nack(m.conn, m.Seq, delay, cause)
	}
}

// Release gives the message back undone, to be delivered again at once. It counts as
// no attempt.
func (m *Message[T]) Release() {
	if m.acked() {
		m.conn.member.release(m.conn, m.Seq)
	}
}

func (m *Message[T]) acked() bool { return m.Gap == nil && m.conn != nil && m.conn.member.acks }
