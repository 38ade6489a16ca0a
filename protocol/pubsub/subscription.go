package pubsub

import (
	"context"
	"crypto/rand"
	"errors"
	"iter"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/protocol/internal/fleet"
	"github.com/linkmesh/link/protocol/internal/lane"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// Subscription is the messages of a topic from all its publishers. End it with
// [Subscription.Close] or the context it was made with.
type Subscription[T any] struct {
	*inbox
	topic Topic[T]
	codec codec.Codec
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
	b := &inbox{node: node, name: t.String(), began: time.Now(), rules: rulesOf(node), in: make(chan *frames, lane.Frames)}
	b.want.ask.Patterns = []string{t.path()}
	for _, opt := range opts {
		opt.applySubscribe(&b.want)
	}
	b.want.settle()
	if err := b.want.check(); err != nil {
		return nil, err
	}
	switch {
	case b.want.ask.Durable:
		b.want.ask.Holder = rand.Text()
	case Class(b.want.ask.Class) == AtLeastOnce:
		b.want.ask.Session = rand.Text()
	}
	if b.want.anyOne {
		b.turn, b.others = make(chan struct{}, 1), make(chan struct{})
	}
	b.marks = b.want.marks
	s := &Subscription[T]{inbox: b, topic: t, codec: link.HostOf(node).Codec()}
	b.ctx, b.cancel = context.WithCancelCause(ctx)
	b.members = fleet.New(b.ctx, b.attendance()) //nolint:contextcheck // the subscription's own is derived from ctx
	b.rules.enter(b)
	known, err := s.start()
	if err == nil {
		err = b.confirmed(known)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// start begins to follow the publishers. The channel receives the publishers that are known
// at first.
func (s *Subscription[T]) start() (<-chan []*member, error) {
	if s.topic.service == "" {
		return s.followShared()
	}
	publishers, err := link.HostOf(s.node).Follow(s.ctx, s.topic.route(s.topic.service), s.want.calls...)
	if err != nil {
		return nil, err
	}
	s.running.Go(func() {
		s.tellIdle(func() error { return link.HostOf(s.node).Unserved(s.topic.route(s.topic.service), s.want.calls...) })
	})
	known := make(chan []*member, 1)
	s.running.Go(func() {
		defer s.rules.exit(s.inbox)
		s.follow(s.topic.service, publishers, true, func(list []*member) { known <- list })
	})
	return known, nil
}

// Messages yields messages and gaps, waiting for each, until the subscription ends.
// It must be ranged over by one goroutine at a time. Leaving the loop does not end the
// subscription. The caller owns each message and what it refers to.
func (s *Subscription[T]) Messages() iter.Seq[Message[T]] {
	return func(yield func(Message[T]) bool) {
		s.mu.Lock()
		half := s.half
		s.half = nil
		s.mu.Unlock()
		// An earlier loop may have ended in a panic of the codec.
		var none T
		s.value = none
		if half != nil && !s.yield(half, yield) {
			return
		}
		for {
			select {
			case f := <-s.in:
				f.conn.waiting.Add(-1)
				f.conn.reader.Reset(f.body)
				if !s.yield(f, yield) {
					return
				}
			case <-s.ctx.Done():
				return
			}
		}
	}
}

// yield passes on the records of one frame.
func (s *Subscription[T]) yield(f *frames, yield func(Message[T]) bool) bool {
	c := f.conn
	if f.gap != nil {
		return yield(Message[T]{Gap: f.gap, Publisher: c.member.ID, conn: c})
	}
	var rec journal.Record
	var none T
	for {
		ok, err := c.reader.Next(&rec)
		if err == nil && ok && rec.Kind == journal.KindMessage && !c.asked(rec.Topic) {
			err = errNotAsked
		}
		if err != nil {
			link.HostOf(s.node).Logger().Warn("pubsub: what a publisher sends makes no sense; its stream is opened again", "topic", s.name, "publisher", c.peer, "error", err)
			c.member.breakOff(c)
			break
		}
		if !ok {
			break
		}
		if !c.member.observe(c, &rec) || rec.Kind == journal.KindMark || !s.follows(&rec) {
			continue
		}
		if rec.Kind == journal.KindGap || !c.member.mayWrite(s.rules, c, rec.Topic) {
			if !yield(s.missing(c, &rec)) {
				s.keep(f)
				return false
			}
			continue
		}
		err = s.codec.Decode(rec.Payload, &s.value)
		// The message is built inline, which saves a copy.
		m := Message[T]{
			Value: s.value, Publisher: c.member.ID, Seq: rec.Seq, Feed: rec.Feed, Time: rec.Time,
			Priority: priorityOf(rec.Priority), Attempt: rec.Attempt, Replayed: rec.Seq < c.live, conn: c,
		}
		s.value = none
		m.realm, m.Topic = realmOf(rec.Topic)
		if len(rec.Key) > 0 {
			m.Key = string(rec.Key)
		}
		if rec.Headers.Len()+rec.Trace.Len() > 0 {
			m.pairs, f.kept = &pairs{rec.Headers, rec.Trace}, true
		}
		if err != nil {
			m.Err = link.Errorf(link.Internal, "decoding message %d of %s into %T: %w", m.Seq, m.Topic, m.Value, err)
		}
		if !yield(m) {
			s.keep(f)
			return false
		}
	}
	c.read(f)
	return true
}

var errNotAsked = errors.New("a message of a topic that was not asked for")

// keep puts the rest of a frame back for the next loop.
func (s *Subscription[T]) keep(f *frames) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.half = f
}

// missing returns the gap that is yielded for a record: either a gap of the publisher, or a
// message that the publisher may not publish.
func (s *Subscription[T]) missing(c *conn, rec *journal.Record) Message[T] {
	var g *Gap
	if rec.Kind == journal.KindMessage {
		c.member.ack(c, rec.Seq)
		g = &Gap{Reason: "refused", From: rec.Seq, To: rec.Seq, Count: 1}
	} else {
		g = &Gap{Reason: rec.Gap.Reason.String(), From: rec.Gap.From, To: rec.Gap.To, Count: rec.Gap.Count}
	}
	return Message[T]{Gap: g, Publisher: c.member.ID, conn: c}
}

// AckRange acks the messages of one publisher that were delivered with numbers from first to
// last, both included, and that were not answered yet.
func (s *Subscription[T]) AckRange(publisher string, first, last uint64) {
	s.mu.Lock()
	m, ok := s.members.Get(publisher)
	s.mu.Unlock()
	if ok && m.acks {
		m.ackRange(first, last)
	}
}

// Err returns why a publisher refused the subscription for good, or why the subscription
// ended without being closed; otherwise nil. A subscription ends when all its publishers
// have refused it.
func (s *Subscription[T]) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// Forget closes a [Durable] subscription and gives up its name at the publishers that it is
// connected to. Other publishers keep the name for [DurableKept].
func (s *Subscription[T]) Forget() {
	s.forgets.Store(true)
	s.Close()
}

// Close ends the subscription at all publishers and waits until its goroutines have ended.
// For [SubscribeFunc] these include the handler, so a handler must not call Close; it may
// cancel the context that the subscription was made with instead. Close is idempotent.
func (s *Subscription[T]) Close() {
	s.rules.exit(s.inbox)
	s.cancel(link.ErrFinished)
	s.members.Wait()
	s.running.Wait()
}
