// Package receive is what runs on a node that subscribes: an inbox for each subscription, with a
// member for each of its publishers.
//
// # Overview
//
// [Open] makes an [Inbox], which follows the publishers of a topic, keeps a stream to each, and puts
// what they send into one queue. The subscription's goroutine takes it from there, frame by frame
// ([Inbox.Wait]) and record by record ([Inbox.Next]). A [Member] is one publisher: it knows how far
// the subscription has come there, and what was not acked. A [Conn] is its connection while that
// lasts.
//
// The package knows nothing of types, of the log of a publisher, or of how a user decides whose
// messages are taken: it asks a [Rule].
//
// # Guarantees
//
// The records of a publisher are returned in order, each once, except for redeliveries of
// AtLeastOnce. What is missing is returned as a gap. What a publisher may have sent and the
// subscription has not read is bounded by the credit of its stream, and by a share of what the node
// keeps when the stream has ended.
//
// # Concurrency
//
// Wait and Next are called by one goroutine at a time. Everything else is safe for concurrent use.
package receive

import (
	"context"
	"crypto/rand"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/protocol/internal/fleet"
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// confirmTime is how long Open waits for the publishers that are known. Publishers that have not
// answered by then are joined in the background.
const confirmTime = 2 * time.Second

// Config is what a subscription asks for, and of whom.
type Config struct {
	Node *link.Node
	// Topic is the name of the topic in errors, logs and spans.
	Topic string
	// Ask is what each publisher is asked for. Open adds the names that sessions need, and keeps it.
	Ask *frame.Subscribe
	// OneOf makes the subscription listen to one publisher at a time.
	OneOf bool
	// Marks are how far an earlier subscription had come, by the IDs of publishers. If they are not
	// nil, a publisher without one is heard from its first message on.
	Marks map[string]journal.Position

	// Service is the service whose instances publish. If it is "", every service may that has an
	// instance with Tag.
	Service string
	Tag     string
	// Route returns the route by which the topology decides which instances of a service publish,
	// with the options in Calls.
	Route func(service string) link.Route
	Calls []link.CallOption

	// Rule is the rule that decides whose messages are taken; nil inside if all are. Decisions are
	// remembered until it changes.
	Rule *atomic.Pointer[Rule]
	// Own returns the publisher of the node itself; nil if it publishes nothing.
	Own func() Publisher
	// Shared is what all subscriptions of the node share.
	Shared *Shared
}

// Rule reports whether a message of a peer is taken, by the path of its topic in the publisher's log.
type Rule func(peer link.Peer, path string) bool

// Publisher is a publisher of the subscription's own node, which it needs no stream to. It is what
// serve.Hub has.
type Publisher interface {
	// Attach sends the records that ask selects to out until ctx ends. If it accepts the
	// subscription, it calls begin with the answer, and with say, which takes verdicts from one
	// goroutine at a time. Before it returns, it calls end, after which say is not called any more.
	Attach(ctx context.Context, ask *frame.Subscribe, out frame.Sink,
		begin func(answer *frame.Subscribed, say func(v *frame.Verdict) error) (end func())) error
}

// Inbox is the untyped part of a subscription: its publishers, and what was received
// from them.
type Inbox struct {
	conf    Config
	began   time.Time
	ctx     context.Context //nolint:containedctx // a subscription is a lasting call; it ends the subscription
	cancel  context.CancelCauseFunc
	running sync.WaitGroup
	// forgets is set if the durable name is given up when the subscription ends.
	forgets atomic.Bool
	// queue has the frames that were received.
	queue queue
	// turn and others are for OneOf, and nil otherwise. The member that is listened to holds
	// turn. Members that stand by send on others.
	turn   chan struct{}
	others chan struct{}
	// reading is the frame that was read in part. It belongs to the goroutine that calls Wait and Next.
	reading *frames

	mu      sync.Mutex // guards the fields below
	members *fleet.Fleet[*Member]
	past    map[string]past
	// answers maps addresses to the IDs of the publishers that answered there.
	answers map[string]string
	// feed is the last feed number that was read, and holder the ID of the publisher that was
	// listened to last. Both are for OneOf.
	feed   uint64
	holder string
	// refused is why a publisher refused the subscription for good, or why the node ended it.
	refused error
	// told is set once it was logged that nobody publishes to the topic.
	told bool
	// idle is the logged reason why no publisher was found.
	idle string
}

// Open begins a subscription, which lasts until ctx or the node ends, all publishers have refused
// it, or [Inbox.Close] is called. It waits until the publishers that are known have answered, for
// at most 2 s. If it returns an error, the subscription has ended: the error with which a publisher
// refused it; ResourceExhausted if none of the known publishers has room for it; or an error of
// [link.Host.Follow] or [link.Host.FollowTag].
func Open(ctx context.Context, conf Config) (*Inbox, error) {
	b := newInbox(conf)
	b.ctx, b.cancel = context.WithCancelCause(ctx)
	b.members = fleet.New(b.ctx, b.attendance()) //nolint:contextcheck // the subscription's own is derived from ctx
	conf.Shared.enter(b)
	known, err := b.start()
	if err == nil {
		err = b.confirmed(known)
	}
	if err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func newInbox(conf Config) *Inbox {
	b := &Inbox{conf: conf, began: time.Now(), queue: queue{filled: notify.NewFlag()}}
	switch ask := conf.Ask; {
	case ask.Durable:
		ask.Holder = rand.Text()
	case journal.Class(ask.Class) == journal.AtLeastOnce:
		ask.Session = rand.Text()
	}
	if conf.OneOf {
		b.turn, b.others = make(chan struct{}, 1), make(chan struct{})
	}
	return b
}

// Context returns the context of the subscription, which ends with it.
func (b *Inbox) Context() context.Context { return b.ctx }

// Err returns why a publisher refused the subscription for good, or why the subscription ended
// without being closed; otherwise nil.
func (b *Inbox) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refused
}

// AckRange acks the messages of one publisher that were delivered with numbers from first to last,
// and that were not answered yet.
func (b *Inbox) AckRange(publisher string, first, last uint64) {
	b.mu.Lock()
	m, ok := b.members.Get(publisher)
	b.mu.Unlock()
	if ok && m.Acks {
		m.ackRange(first, last)
	}
}

// Forget makes the publishers that are connected forget the durable name when the subscription is
// closed.
func (b *Inbox) Forget() { b.forgets.Store(true) }

// Close ends the subscription at all publishers, and waits until its goroutines have ended. It is
// idempotent.
func (b *Inbox) Close() {
	b.conf.Shared.exit(b)
	b.cancel(link.ErrFinished)
	b.members.Wait()
	b.running.Wait()
}

// progress returns how many records of all its publishers the subscription has read. While it
// reads the messages of any of them, it is not stuck for the others.
func (b *Inbox) progress() (read uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for m := range b.members.All() {
		m.mu.Lock()
		read += m.count.records
		m.mu.Unlock()
	}
	return read
}

// end ends the subscription because its node is closed.
func (b *Inbox) end(why error) {
	b.refuse(why)
	b.cancel(why)
}

func (b *Inbox) refuse(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refused == nil {
		b.refused = err
	}
}

// confirmed waits at most confirmTime for the answers of the publishers that are known. It
// returns an error if one refuses the subscription, or if none of them has room for it.
func (b *Inbox) confirmed(known <-chan []*Member) error {
	patience := time.NewTimer(confirmTime)
	defer patience.Stop()
	ended := func() error {
		// If the last publisher has refused it, that is what ended the subscription.
		if err := b.Err(); err != nil {
			return err
		}
		return link.Errorf(link.CodeOf(b.ctx.Err()), "subscribe to %s: %w", b.conf.Topic, context.Cause(b.ctx))
	}
	var first []*Member
	select {
	case first = <-known:
	case <-patience.C:
		return nil
	case <-b.ctx.Done():
		return ended()
	}
	for _, m := range first {
		select {
		case <-m.settled:
		case <-patience.C:
			return nil
		case <-b.ctx.Done():
			return ended()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refused != nil {
		return b.refused
	}
	var full error
	for _, m := range first {
		if full = m.full(); full == nil {
			return nil
		}
	}
	return full
}

// unheard logs that a publisher has ended and that there was no room for the last messages that
// it sent. A gap reports these, unless OneOf gets them from another publisher.
func (b *Inbox) unheard(m *Member, why error) {
	link.HostOf(b.conf.Node).Logger().Warn("pubsub: a publisher has ended, and there was no room for the last that it sent", "topic", b.conf.Topic, "publisher", m.ID, "error", why)
	if c := m.cutShort(); c != nil && !b.hasOther(m) {
		b.tell(c, "gone")
	}
}

// hasOther reports whether OneOf may go on at a publisher other than m.
func (b *Inbox) hasOther(m *Member) bool {
	if b.turn == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for other := range b.members.All() {
		if other != m {
			return true
		}
	}
	return false
}

// gone queues a gap for a publisher that has vanished without ending in good order, once for
// each time that it was joined. OneOf goes on at another publisher instead.
func (b *Inbox) gone(m *Member) {
	if c := m.cutShort(); c != nil && b.turn == nil {
		b.tell(c, "gone")
	}
}

// tell queues a gap of unknown size behind what came on a connection. It waits while many frames wait.
func (b *Inbox) tell(c *Conn, reason string) {
	c.waiting.Add(1)
	b.queue.push(&frames{conn: c, gap: &Gap{Reason: reason}})
	for b.queue.beyond(c) > 0 {
		select {
		case <-c.shrunk:
		case <-b.ctx.Done():
			return
		}
	}
}

// discard takes back the frames of a connection that are behind the first of the queue: they were not
// received.
func (b *Inbox) discard(c *Conn) {
	for _, f := range slices.Backward(b.queue.cut(c)) {
		if f.gap == nil {
			c.Member.dropped(f)
			c.letGo(f)
		}
	}
}
