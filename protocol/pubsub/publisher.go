package pubsub

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/trace"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
	"github.com/linkmesh/link/protocol/pubsub/internal/serve"
	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

// Publisher publishes to a topic of the node's own service, or to a shared one.
type Publisher[T any] struct {
	node  *link.Node
	hub   *serve.Hub
	topic Topic[T]
	path  string
	name  string
	tag   string // announced; "" if none
	close sync.Once

	drafts sync.Pool // holds *draft[T]
}

// draft holds a message while it is published. Codecs encode the value by pointer, which
// does not allocate. The log copies buf.
type draft[T any] struct {
	value T
	post  post
	buf   []byte
}

// post is a message and what its options say that a message cannot hold.
type post struct {
	message journal.Message
	// beyond is a priority that is too high, 0 if there is none.
	beyond uint8
}

// NewPublisher returns a publisher of t on node. The node must serve under the topic's
// service, or under any service if the topic is shared. The first publisher on a node makes
// the node answer subscribers. Make it before the node runs: otherwise subscribers that find
// the node ask once a second whether it publishes, and its first messages reach them that
// much later. The publisher of a shared topic announces the topic's tag until it is closed.
//
// Errors: InvalidArgument for a malformed name or a pattern; FailedPrecondition if the
// topic belongs to another service or the node has no service; ResourceExhausted if the
// node has too many tags.
func NewPublisher[T any](node *link.Node, t Topic[T]) (*Publisher[T], error) {
	if err := t.checkName(); err != nil {
		return nil, err
	}
	own := link.HostOf(node).Service()
	if own == "" {
		return nil, link.Errorf(link.FailedPrecondition, "publish to %s: the node has no Config.Service, so nobody can find it to subscribe", t)
	}
	if t.realm.Kind != subject.Shared && own != t.service {
		return nil, link.Errorf(link.FailedPrecondition, "topic %s belongs to service %q, and this node serves %q", t, t.service, own)
	}
	h, err := hubOf(node)
	if err != nil {
		return nil, err
	}
	p := &Publisher[T]{node: node, hub: h, topic: t, path: t.path(), name: t.String()}
	h.Announce(p.path)
	if t.realm.Kind == subject.Shared {
		if err := link.HostOf(node).AddTag(t.tag()); err != nil {
			return nil, err
		}
		p.tag = t.tag()
	}
	return p, nil
}

// Close withdraws the tag of a shared topic, unless another publisher of the node
// announces it too. Subscribers that are connected by then stay connected. For other topics
// it does nothing and may be omitted. It is idempotent.
func (p *Publisher[T]) Close() {
	p.close.Do(func() {
		if p.tag != "" {
			link.HostOf(p.node).RemoveTag(p.tag)
		}
	})
}

// Report is the outcome of publishing a message.
type Report struct {
	// Matched is how many subscriptions asked for the message; a group counts as one.
	Matched int
	// Queued is how many of these are still to get the message.
	Queued int
	// Dropped is how many messages, this one or older ones, overflowed a subscription
	// because of it. Each is reported to its subscriber in a [Gap].
	Dropped int
}

// Publish sends v to all subscriptions of the topic. It encodes v once, however many there
// are. It does not wait for subscribers, except for those that asked for it with [Backpressure].
// It waits for these no longer than they asked for, or until ctx ends, and then publishes
// the message all the same. The message carries the trace context and baggage of ctx.
//
// Errors: InvalidArgument if v cannot be encoded or an option is out of range;
// ResourceExhausted if the message is larger than a node takes; Unavailable late in a drain
// of the node, when subscriptions have been told that nothing more will come.
func (p *Publisher[T]) Publish(ctx context.Context, v T, opts ...PublishOption) (Report, error) {
	d, _ := p.drafts.Get().(*draft[T])
	if d == nil {
		d = new(draft[T])
	}
	defer p.done(d)
	d.post.message.Topic = p.path
	for _, opt := range opts {
		opt.applyPublish(&d.post)
	}
	if err := d.post.check(p.name); err != nil {
		return Report{}, err
	}
	d.value = v
	var err error
	if d.buf, err = link.HostOf(p.node).Codec().Append(d.buf[:0], &d.value); err != nil {
		// ResourceExhausted reports a limit of the codec.
		code := link.CodeOf(err)
		if code != link.ResourceExhausted {
			code = link.InvalidArgument
		}
		return Report{}, link.Errorf(code, "publish to %s: encoding %T: %w", p.name, v, err)
	}
	d.post.message.Payload = d.buf
	report, err := p.send(ctx, &d.post.message)
	switch {
	case err == nil:
		return Report(report), nil
	case errors.Is(err, journal.ErrSealed):
		return Report{}, link.Errorf(link.Unavailable, "publish to %s: the node is draining and has told its subscriptions that nothing more will come; publish from another node, or earlier in the drain (Config.Limits.DrainTimeout)", p.name)
	case errors.Is(err, journal.ErrTooLarge):
		return Report{}, link.Errorf(link.ResourceExhausted, "publish to %s: %w", p.name, err)
	}
	return Report{}, link.Errorf(link.InvalidArgument, "publish to %s: %w", p.name, err)
}

// check returns an error if an option of a message to a topic is out of range.
func (p *post) check(topic string) error {
	m := &p.message
	if len(m.Key) > journal.MaxKey {
		return link.Errorf(link.InvalidArgument, "publish to %s: Key has %d bytes, of at most %d", topic, len(m.Key), journal.MaxKey)
	}
	if p.beyond > 0 {
		return link.Errorf(link.InvalidArgument, "publish to %s: Priority is %d, want 0 to %d", topic, p.beyond, maxPriority)
	}
	if len(m.Headers) > journal.MaxPairs {
		return link.Errorf(link.InvalidArgument, "publish to %s: %d headers, of at most %d", topic, len(m.Headers), journal.MaxPairs)
	}
	size := 0
	for _, h := range m.Headers {
		if strings.HasPrefix(h.Name, reservedHeader) {
			return link.Errorf(link.InvalidArgument, "publish to %s: header %q: names that begin with %q are link's own", topic, h.Name, reservedHeader)
		}
		size += len(h.Name) + len(h.Value)
	}
	if size > journal.MaxPairBytes {
		return link.Errorf(link.InvalidArgument, "publish to %s: headers of %d bytes, of at most %d", topic, size, journal.MaxPairBytes)
	}
	return nil
}

// send appends the message to the log, in a span.
func (p *Publisher[T]) send(ctx context.Context, m *journal.Message) (report journal.Report, err error) {
	tracer := (*trace.Tracer)(link.HostOf(p.node).Tracer())
	ctx, span := tracer.StartSend(ctx, p.name)
	for _, pair := range tracer.Inject(ctx, nil) {
		m.Trace = append(m.Trace, journal.Pair{Name: pair.Key, Value: pair.Value})
	}
	report, err = p.hub.Publish(ctx, m)
	span.End(uint32(link.CodeOf(err)), err)
	return report, err
}

// WaitSubscribers blocks until n subscriptions match the topic. It returns an error if ctx
// ends before.
func (p *Publisher[T]) WaitSubscribers(ctx context.Context, n int) error {
	have, err := p.hub.Await(ctx, p.path, n)
	if err != nil {
		return link.Errorf(link.CodeOf(ctx.Err()), "%s has %d subscriptions, want %d: %w", p.name, have, n, err)
	}
	return nil
}

// done keeps a draft for the next message, without references to the caller's values.
func (p *Publisher[T]) done(d *draft[T]) {
	var none T
	d.value = none
	if m := &d.post.message; d.post.beyond > 0 || !m.Bare() {
		d.post = post{message: journal.Message{Headers: emptied(m.Headers), Trace: emptied(m.Trace)}}
	}
	if cap(d.buf) > keepPayload {
		d.buf = nil
	}
	p.drafts.Put(d)
}

// emptied clears pairs and returns them for reuse, or nil if their capacity is more than any
// message needs.
func emptied(pairs []journal.Pair) []journal.Pair {
	clear(pairs)
	if cap(pairs) > journal.MaxPairs {
		return nil
	}
	return pairs[:0]
}

// keepPayload is the largest buffer that is kept, in bytes.
const keepPayload = 64 << 10

// PublishOption changes one message.
type PublishOption interface{ applyPublish(p *post) }

type publishOption func(p *post)

func (f publishOption) applyPublish(p *post) { f(p) }

// Key sets the key of the message, of at most 255 bytes. [Latest] keeps the newest message
// of each topic and key, and all messages with the same key go to one member of a group.
func Key(key string) PublishOption { return publishOption(func(p *post) { p.message.Key = key }) }

// Header adds a header to the message, which may have at most 64, of 16 KiB together.
// [Message.Header] returns its value.
func Header(name, value string) PublishOption {
	return publishOption(func(p *post) {
		p.message.Headers = append(p.message.Headers, journal.Pair{Name: name, Value: value})
	})
}

// TTL sets how long the message is worth delivering. After that it is reported as a gap
// with the reason "ttl". Zero means that it never expires.
func TTL(d time.Duration) PublishOption {
	return publishOption(func(p *post) { p.message.TTL = d })
}

// Priority sets the priority of the message, from 0 to 9, higher first. The default is 4.
// Priorities 7 to 9 use the high lane of a subscription, 3 to 6 the normal lane, and 0 to 2
// the low lane. Messages of one lane stay in order, and lanes with messages take turns
// 8:4:1.
func Priority(p uint8) PublishOption {
	return publishOption(func(t *post) {
		if p > maxPriority {
			t.beyond = p
			return
		}
		t.message.Priority = priorities[p].number
	})
}

// Below publishes below the topic's name: Below("eu.42") on the topic "placed"
// publishes to "placed.eu.42".
func Below(tokens string) PublishOption {
	return publishOption(func(p *post) { p.message.Topic += "." + tokens })
}
