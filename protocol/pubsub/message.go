package pubsub

import (
	"context"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/trace"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
	"github.com/linkmesh/link/protocol/pubsub/internal/receive"
	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
	"github.com/linkmesh/link/tracing"
)

// Message is what a subscription yields: a message, or a gap where messages are
// missing. It may be kept and copied; an answer to one copy, such as [Message.Ack],
// holds for all of them.
type Message[T any] struct {
	// Gap is not nil if this stands for missing messages. Publisher is then the only
	// other field that is set.
	Gap *Gap
	// Err is why the payload could not be decoded into Value; nil otherwise. Such a
	// message may be acked like any other.
	Err error

	Value T
	Topic string
	Key   string
	// Publisher is the ID of the instance that published the message; see Peer.
	Publisher string
	// Seq is the publisher's number of the message, from 1. Feed is its number in the feed,
	// 0 if the publisher gave none.
	Seq  uint64
	Feed uint64
	Time time.Time
	// Priority is from 0 to 9; see [Priority].
	Priority uint8
	// Replayed is set if the message was published before the subscription began.
	Replayed bool
	realm    subject.Realm
	// Attempt is the number of this delivery in the class AtLeastOnce, from 1.
	Attempt int

	pairs *pairs // nil if there are none
	conn  *receive.Conn
}

// pairs are the parts of a message that few messages have.
type pairs struct{ headers, trace journal.Pairs }

func (m *Message[T]) allPairs() pairs {
	if m.pairs == nil {
		return pairs{}
	}
	return *m.pairs
}

// Peer returns the authenticated peer that published the message.
func (m *Message[T]) Peer() link.Peer {
	if m.conn == nil {
		return link.Peer{}
	}
	return m.conn.Peer
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

// Context returns ctx with the trace context and the baggage of the publisher, for handling the
// message, but from a publisher in another trust domain with neither. A span that is started in
// it is a child of the publisher's; OpenTelemetry's trace.LinkFromContext makes a link of it
// instead. [SubscribeFunc] passes its handler the context of a span that is so linked.
func (m *Message[T]) Context(ctx context.Context, tracer *tracing.Tracer) context.Context {
	carrier, how := m.sender()
	return (*trace.Tracer)(tracer).Receive(ctx, carrier, how)
}

// process returns a context for the handler of a subscription, with the baggage of the publisher
// and the span of handling the message, which is linked to the publisher's. Without an
// OpenTelemetry SDK it is the context of [Message.Context].
func (m *Message[T]) process(ctx context.Context, tracer *tracing.Tracer) (context.Context, trace.MessageSpan) {
	carrier, how := m.sender()
	return (*trace.Tracer)(tracer).StartProcess(ctx, m.destination(), carrier, how)
}

// sender returns what the publisher said about its trace, and how far that is trusted.
func (m *Message[T]) sender() (trace.Carrier, trace.Correlation) {
	var carrier trace.Carrier
	for k, v := range m.allPairs().trace.All() {
		carrier = append(carrier, trace.Pair{Key: string(k), Value: string(v)})
	}
	if m.conn != nil && m.conn.Foreign {
		return carrier, trace.Foreign
	}
	return carrier, trace.Linked
}

// destination returns the name of the topic in spans, without the tokens that the publisher
// put below it: these are data, and there may be millions of them.
func (m *Message[T]) destination() string {
	if m.conn == nil {
		return trace.OtherMethod
	}
	return m.conn.Member.Topic
}

// Gap says which messages of a publisher are missing from a subscription, and why.
type Gap struct {
	// Reason is "overflow", "ttl", "conflated", "retention", "restart", "gone",
	// "refused", "switched", "drained" or "lost"; docs/guarantees.md explains each.
	Reason string
	// From and To are numbers of the publisher, both included.
	From, To uint64
	// Count is how many of these messages were the subscription's; 0 means unknown.
	Count uint64
}

// Ack reports that the message was handled. It has no effect in classes without acks, or
// on a message that was answered before.
func (m *Message[T]) Ack() {
	if m.acked() {
		m.conn.Member.Ack(m.conn, m.Seq)
	}
}

// AckThrough acks the message, and all messages of its publisher with lower numbers that
// were delivered before it.
func (m *Message[T]) AckThrough() {
	if m.acked() {
		m.conn.Member.AckThrough(m.conn, m.Seq)
	}
}

// Nack reports that the message was not handled. The error means what it means when a
// handler of [SubscribeFunc] returns it: [Retry] and [Release] say when the message is
// delivered again, and after any other error, or nil, it is delivered again after the next
// of 1 s, 5 s, 30 s and 2 min. A message that has failed five times goes to [DeadLetters],
// with up to 256 bytes of each cause. Nack has no effect in classes without acks, or on a
// message that was answered before.
func (m *Message[T]) Nack(err error) {
	if m.acked() {
		m.giveBack(failureOf(err))
	}
}

// giveBack answers a message of a class with acks that was not handled.
func (m *Message[T]) giveBack(f failure) {
	if f.release {
		m.conn.Member.Release(m.conn, m.Seq)
		return
	}
	m.conn.Member.Nack(m.conn, m.Seq, f.delay, f.cause)
}

func (m *Message[T]) acked() bool { return m.Gap == nil && m.conn != nil && m.conn.Member.Acks }
