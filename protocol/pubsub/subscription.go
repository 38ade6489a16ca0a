package pubsub

import (
	"context"
	"fmt"
	"iter"
	"runtime/debug"
	"sync"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/protocol/pubsub/internal/receive"
	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

// Subscription is the messages of a topic from all its publishers. End it with
// [Subscription.Close] or the context it was made with.
type Subscription[T any] struct {
	box   *receive.Inbox
	node  *link.Node
	name  string // the topic's, for logs
	want  settings
	ctx   context.Context //nolint:containedctx // it is the inbox's, and ends the subscription
	codec codec.Codec
	// running waits for a handler, and handled is set if there is one.
	running sync.WaitGroup
	handled bool
	// value is decoded into by the goroutine that ranges, which saves an allocation for each
	// message. It is zero in between.
	value T
}

// Subscribe subscribes to t at all instances of its service that the topology lets the node
// reach, now and later; to a shared topic, at the instances of all services that publish to
// it. It blocks until the publishers that are known have confirmed, at most 2 s;
// the others are joined in the background. A publisher refuses more than 512 subscriptions of one
// node, or 16,384 of one service, with ResourceExhausted. The subscription lasts until ctx ends, or until
// it or the node is closed.
//
// If a publisher is lost, the subscription connects to it again and goes on where it was. A
// gap reports the messages that the publisher no longer keeps by then, and also a publisher
// that is gone for good without having ended in good order. Publishers that appear later
// are heard from their first message on. A publisher on the node itself is heard without a
// socket.
//
// Errors: InvalidArgument for a malformed name or options that do not go together; the error
// with which a publisher refused the subscription, such as PermissionDenied, or
// ResourceExhausted if none of the known publishers has room for it; FailedPrecondition if a
// publisher's node has another codec; the errors of [link.Host.Follow]; Unimplemented for a
// shared topic if the registry cannot find services by their tags.
func Subscribe[T any](ctx context.Context, node *link.Node, t Topic[T], opts ...SubscribeOption) (*Subscription[T], error) {
	if err := t.checkPattern(); err != nil {
		return nil, err
	}
	s := &Subscription[T]{node: node, name: t.String(), codec: link.HostOf(node).Codec()}
	s.want.ask.Patterns = []string{t.path()}
	for _, opt := range opts {
		opt.applySubscribe(&s.want)
	}
	s.want.settle()
	if err := s.want.check(); err != nil {
		return nil, err
	}
	r := rulesOf(node)
	box, err := receive.Open(ctx, receive.Config{
		Node: node, Topic: s.name, Ask: &s.want.ask, OneOf: s.want.anyOne, Marks: s.want.marks,
		Service: t.service, Tag: t.tag(), Route: t.route, Calls: s.want.calls,
		Rule: &r.takes, Own: r.own, Shared: r.received,
	})
	if err != nil {
		return nil, err
	}
	s.box, s.ctx = box, box.Context()
	return s, nil
}

// Messages yields messages and gaps, waiting for each, until the subscription ends.
// It must be ranged over by one goroutine at a time. Leaving the loop does not end the
// subscription. The caller owns each message and what it refers to.
func (s *Subscription[T]) Messages() iter.Seq[Message[T]] {
	return func(yield func(Message[T]) bool) {
		// An earlier loop may have ended in a panic of the codec.
		var none T
		s.value = none
		for s.box.Wait() && s.read(yield) { //nolint:revive // read does the work
		}
	}
}

// read yields what there is to read. It returns false if yield does.
func (s *Subscription[T]) read(yield func(Message[T]) bool) bool {
	var d receive.Delivery
	var none T
	for s.box.Next(&d) {
		if d.Gap != nil {
			if !yield(Message[T]{Gap: (*Gap)(d.Gap), Publisher: d.Conn.Member.ID, conn: d.Conn}) {
				return false
			}
			continue
		}
		rec := &d.Record
		var err error
		if s.handled {
			err = s.decode(rec.Payload)
		} else {
			err = s.codec.Decode(rec.Payload, &s.value)
		}
		// The message is built inline, which saves a copy.
		m := Message[T]{
			Value: s.value, Publisher: d.Conn.Member.ID, Seq: rec.Seq, Feed: rec.Feed, Time: rec.Time,
			Priority: priorityOf(rec.Priority), Attempt: rec.Attempt, Replayed: rec.Seq < d.Conn.Live, conn: d.Conn,
		}
		s.value = none
		m.realm, m.Topic = subject.RealmOf(rec.Topic)
		if len(rec.Key) > 0 {
			m.Key = string(rec.Key)
		}
		if rec.Headers.Len()+rec.Trace.Len() > 0 {
			m.pairs = &pairs{rec.Headers, rec.Trace}
		}
		if err != nil {
			m.Err = link.Errorf(link.Internal, "decoding message %d of %s into %T: %w", m.Seq, m.Topic, m.Value, err)
		}
		if !yield(m) {
			return false
		}
	}
	return true
}

// decode decodes a payload into s.value for SubscribeFunc. A type may decode itself with user code, and a publisher chooses
// what that gets. If it panics, whoever ranges over the messages can recover that, but the goroutine of SubscribeFunc is ours,
// and would end the process.
func (s *Subscription[T]) decode(payload []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = s.panicked("decoder", p)
		}
	}()
	return s.codec.Decode(payload, &s.value)
}

// panicked logs a panic of user code with its stack, and returns an error for it.
func (s *Subscription[T]) panicked(what string, p any) error {
	link.HostOf(s.node).Logger().Error("pubsub: the "+what+" of a subscription panicked", "topic", s.name, "panic", p, "stack", string(debug.Stack()))
	return fmt.Errorf("panic: %v", p)
}

// AckRange acks the messages of one publisher that were delivered with numbers from first to
// last, both included, and that were not answered yet.
func (s *Subscription[T]) AckRange(publisher string, first, last uint64) {
	s.box.AckRange(publisher, first, last)
}

// Err returns why a publisher refused the subscription for good, or why the subscription
// ended without being closed; otherwise nil. A subscription ends when all its publishers
// have refused it.
func (s *Subscription[T]) Err() error { return s.box.Err() }

// Forget closes a [Durable] subscription and gives up its name at the publishers that it is
// connected to. Other publishers keep the name for an hour.
func (s *Subscription[T]) Forget() {
	s.box.Forget()
	s.Close()
}

// Close ends the subscription at all publishers and waits until its goroutines have ended.
// For [SubscribeFunc] these include the handler, so a handler must not call Close; it may
// cancel the context that the subscription was made with instead. Close is idempotent.
func (s *Subscription[T]) Close() {
	s.box.Close()
	s.running.Wait()
}
