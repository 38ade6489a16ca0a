package pubsub

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/protocol/internal/fleet"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// inbox is the untyped part of a subscription: its publishers, and what was received
// from them.
type inbox struct {
	node    *link.Node
	name    string // the topic's, for errors
	began   time.Time
	want    settings
	rules   *rules
	ctx     context.Context //nolint:containedctx // a subscription is a lasting call; it ends the subscription
	cancel  context.CancelCauseFunc
	running sync.WaitGroup
	// forgets is set if the durable name is given up when the subscription ends.
	forgets atomic.Bool
	// in has the frames that were received, in order for each publisher.
	in chan *frames
	// turn and others are for AnyOne, and nil otherwise. The member that is listened to holds
	// turn. Members that stand by send on others.
	turn   chan struct{}
	others chan struct{}

	mu      sync.Mutex // guards the fields below
	members *fleet.Fleet[*member]
	marks   bookmarks
	past    map[string]past
	// answers maps addresses to the IDs of the publishers that answered there.
	answers map[string]string
	// feed is the last feed number that was read, and holder the ID of the publisher that was
	// listened to last. Both are for AnyOne.
	feed   uint64
	holder string
	// refused is why a publisher refused the subscription for good, or why the node ended it.
	refused error
	// half is the frame that a loop over the messages has read in part.
	half *frames
	// told is set once it was logged that nobody publishes to the topic.
	told bool
	// idle is the logged reason why no publisher was found.
	idle string
}

// frames is one frame of records, or a gap in place of one, and where it came from.
type frames struct {
	conn *conn
	body []byte
	owed int  // bytes of credit that are due for it
	kept bool // messages refer to the body
	gap  *Gap
	// gaps counts the gaps in the body, and read the messages of it that were read. Both are
	// for AtLeastOnce.
	gaps uint64
	read int
}

// intake is where one member's connection puts what it receives.
type intake struct {
	box    *inbox
	member *member
	ask    *subscribe
	// switched is set if AnyOne came from another publisher and it is unknown what was missed.
	switched bool
}

// joined makes c the member's current connection.
func (i intake) joined(c *conn, a *subscribed) *conn {
	c.member, c.reader, c.live, c.shrunk = i.member, journal.NewReader(journal.ReaderLimits{}), a.Live, notify.NewFlag()
	i.member.joined(c, i.ask, a)
	i.box.hears(i.member)
	i.box.held(c, i.switched)
	return c
}

// take waits for room and queues a frame, which then belongs to the subscription. If the stream
// ends before, the frame waits on together with what is left of the stream, if there is room for
// both. in is nil if the frame did not come on a stream.
func (i intake) take(ctx context.Context, f *frames, in *arrivals) error {
	c := f.conn
	ended := in.ended()
	outlast := func() error {
		ended = nil
		return in.outlast(len(f.body) + frameCost)
	}
	for !c.holds(len(f.body)) {
		select {
		case <-c.shrunk:
		case <-ended:
			if err := outlast(); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	i.member.received(f)
	c.pulse.arm()
	for {
		var err error
		select {
		case i.box.in <- f:
			return nil
		case <-ended:
			if err = outlast(); err == nil {
				continue
			}
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-i.box.ctx.Done():
			err = context.Cause(i.box.ctx) //nolint:contextcheck // the subscription's context may end first
		}
		i.member.dropped(f)
		return err
	}
}

// note queues a frame with the publisher's position. Without room it drops the frame, because
// the next one has the position again.
func (i intake) note(f *frames) {
	i.member.received(f)
	select {
	case i.box.in <- f:
	default:
		i.member.dropped(f)
	}
}

// judging sends verdicts on messages, and reports that messages are read, until ctx ends or wait
// is called, which waits until it has ended. It calls say from several goroutines, one at a time.
func (i intake) judging(ctx context.Context, c *conn, say func(v *verdict) error) (wait func()) {
	var mu sync.Mutex
	one := func(v *verdict) error {
		mu.Lock()
		defer mu.Unlock()
		return say(v)
	}
	read := i.box.progress()
	c.pulse.start(func() (waits bool) {
		inLine := c.inLine.Load()
		if !i.member.waiting() && !inLine {
			return false
		}
		if now := i.box.progress(); now != read || inLine {
			read = now
			return one(&verdict{Reading: true, Read: i.member.readOn(c)}) == nil
		}
		return true
	})
	ctx, quit := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		i.member.report(ctx, one)
	}()
	return func() { quit(); c.pulse.stop(); <-done }
}

// progress returns how many records of all its publishers the subscription has read. While it
// reads the messages of any of them, it is not stuck for the others.
func (b *inbox) progress() (read uint64) {
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
func (b *inbox) end(why error) {
	b.refuse(why)
	b.cancel(why)
}

func (b *inbox) refuse(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refused == nil {
		b.refused = err
	}
}

// confirmed waits at most confirmTime for the answers of the publishers that are known. It
// returns an error if one refuses the subscription, or if none of them has room for it.
func (b *inbox) confirmed(known <-chan []*member) error {
	patience := time.NewTimer(confirmTime)
	defer patience.Stop()
	ended := func() error {
		return link.Errorf(link.CodeOf(b.ctx.Err()), "subscribe to %s: %w", b.name, context.Cause(b.ctx))
	}
	var first []*member
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

// meetLocked returns the member for a publisher that has appeared. late is set if that was after the
// subscription began.
func (b *inbox) meetLocked(service string, in discovery.Instance, late bool) *member {
	m := newMember(service, in.ID, &b.want.ask, late)
	m.topic, m.addr = b.name, in.Addr
	if was, ok := b.past[in.ID]; ok {
		m.goOn(was.position)
		delete(b.past, in.ID)
	} else {
		b.marks.apply(m)
	}
	return m
}

// past is where a subscription was at a publisher that discovery no longer shows, and that may
// come back.
type past struct {
	position journal.Position
	left     time.Time
}

// maxPast bounds the publishers in inbox.past, about 100 bytes each. If there are more, the one
// that left first is evicted.
const maxPast = 1024

// partLocked notes where the subscription was at a publisher that discovery no longer shows, and whose
// stream has ended.
func (b *inbox) partLocked(m *member) {
	if p, ok := m.position(); ok {
		b.rememberLocked(m.ID, past{p, time.Now()})
	}
}

// unheard logs that a publisher has ended and that there was no room for the last messages that
// it sent. A gap reports these, unless AnyOne gets them from another publisher.
func (b *inbox) unheard(m *member, why error) {
	link.HostOf(b.node).Logger().Warn("pubsub: a publisher has ended, and there was no room for the last that it sent", "topic", b.name, "publisher", m.ID, "error", why)
	if c := m.cutShort(); c != nil && !b.hasOther(m) {
		b.tell(c, "gone")
	}
}

// hasOther reports whether AnyOne may go on at a publisher other than m.
func (b *inbox) hasOther(m *member) bool {
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
// each time that it was joined. AnyOne goes on at another publisher instead.
func (b *inbox) gone(m *member) {
	if c := m.cutShort(); c != nil && b.turn == nil {
		b.tell(c, "gone")
	}
}

func (b *inbox) rememberLocked(id string, p past) {
	if b.past == nil {
		b.past = make(map[string]past)
	}
	b.past[id] = p
	if len(b.past) <= maxPast {
		return
	}
	oldest := id
	for id, p := range b.past {
		if p.left.Before(b.past[oldest].left) {
			oldest = id
		}
	}
	delete(b.past, oldest)
}

// tell queues a gap of unknown size behind what came on a connection.
func (b *inbox) tell(c *conn, reason string) {
	c.waiting.Add(1)
	select {
	case b.in <- &frames{conn: c, gap: &Gap{Reason: reason}}:
	case <-b.ctx.Done():
	}
}

// hears notes that a publisher has answered at its address.
func (b *inbox) hears(m *member) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.answers == nil || len(b.answers) >= maxPast {
		b.answers = make(map[string]string)
	}
	b.answers[m.addr] = m.ID
}

// heardBefore reports whether another publisher has answered at m's address. That was an earlier
// run of m, and the subscription has been told of its end.
func (b *inbox) heardBefore(m *member) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	id, ok := b.answers[m.addr]
	return ok && id != m.ID
}
