package pubsub

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// inbox is the half of a subscription that has no type: its publishers, and what came
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
	forgets atomic.Bool   // when it ends, its durable name is given up
	in      chan *frames  // what was received, in order for each publisher
	turn    chan struct{} // for AnyOne: held by the member that is listened to; nil: all are
	others  chan struct{} // for AnyOne: sends to who asks for one that waits for the turn

	mu      sync.Mutex // guards the fields below
	members map[string]*member
	marks   bookmarks // for publishers that were there in an earlier run
	past    map[string]past
	answers map[string]string // by address: the publisher that has answered there
	feed    uint64            // for AnyOne: the last number that was read
	holder  string            // for AnyOne: who was listened to last
	refused error             // by a publisher, for good
	half    *frames           // frames that a loop has taken a part of
	told    bool              // the log has said that nobody publishes to the topic
	idle    string            // why no publisher was found, when it was said
}

// frames is one frame of records and where it came from.
type frames struct {
	conn *conn
	body []byte
	owed int    // bytes of credit that are due for it
	kept bool   // messages refer to the body
	gap  *Gap   // instead of a body
	gaps uint64 // with acks: how many the body tells
	read int    // with acks: messages of the body that were read
}

// intake is where one member's connection puts what it receives.
type intake struct {
	box      *inbox
	member   *member
	ask      *subscribe
	switched bool // for AnyOne: nobody knows what is missed between the last publisher and this one
}

// joined makes a connection the member's present one.
func (i intake) joined(c *conn, a *subscribed) *conn {
	c.member, c.reader, c.live, c.shrunk = i.member, journal.NewReader(journal.ReaderLimits{}), a.Live, make(chan struct{}, 1)
	i.member.joined(c, i.ask, a)
	i.box.hears(i.member)
	i.box.held(c, i.switched)
	return c
}

// take passes a frame on, which is the subscription's from then on, when there is room. If the
// stream that it came on ends before, the frame waits on with what is left of that, as far as there
// is room for both; nil is no stream.
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
		case <-i.box.ctx.Done(): // nobody reads any more
			err = context.Cause(i.box.ctx) //nolint:contextcheck // the subscription's context may end first
		}
		i.member.dropped(f)
		return err
	}
}

// note passes on a frame that says how far the publisher is, if there is room: the next
// one says so again.
func (i intake) note(f *frames) {
	i.member.received(f)
	select {
	case i.box.in <- f:
	default:
		i.member.dropped(f)
	}
}

// judging says what becomes of messages, and that they are read, until ctx ends or wait is
// called, which waits for its end. Say may be called by several goroutines, one at a time.
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

// progress counts what the subscription has read, of all its publishers: who waits for
// one that reads others waits for one that reads.
func (b *inbox) progress() (read uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.members {
		m.mu.Lock()
		read += m.count.records
		m.mu.Unlock()
	}
	return read
}

// end ends the subscription because its node has.
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

// confirmed waits until the publishers that are known have answered, for
// [ConfirmTime] at the most.
func (b *inbox) confirmed(known <-chan []*member) error {
	patience := time.NewTimer(ConfirmTime)
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

// update takes in the instances of one service that publish: it joins those that have
// appeared and lets go of those that have vanished. It returns the former.
func (b *inbox) update(service string, list []discovery.Instance, first bool) (joined []*member) {
	there := make(map[string]bool, len(list))
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, in := range list {
		there[in.ID] = true
		if old := b.members[in.ID]; old != nil {
			old.leaving.Store(false)
			continue
		}
		m := newMember(service, in.ID, &b.want.ask, !first)
		m.topic, m.addr = b.name, in.Addr
		if was, ok := b.past[in.ID]; ok {
			m.goOn(was.position)
			delete(b.past, in.ID)
		} else {
			b.marks.apply(m)
		}
		b.members[in.ID] = m
		joined = append(joined, m)
		b.running.Go(func() { b.attend(m) })
	}
	for id, m := range b.members {
		if m.service == service && !there[id] {
			m.leaving.Store(true) // its stream ends by itself, when all has been said
		}
	}
	return joined
}

// past is where a subscription was at a publisher that discovery no longer shows. It may
// come back.
type past struct {
	position journal.Position
	left     time.Time
}

// maxPast bounds the publishers that are gone and remembered; the one that left first
// makes way. Each takes about 100 bytes.
const maxPast = 1024

// parted lets go of a member that discovery no longer shows, and reports whether it did. If
// the publisher did not end the stream in good order, what it had still to say is lost,
// and a gap says so.
func (b *inbox) parted(m *member) bool {
	b.mu.Lock()
	if !m.leaving.Load() {
		b.mu.Unlock()
		return false
	}
	delete(b.members, m.id)
	if p, ok := m.position(); ok {
		b.rememberLocked(m.id, past{p, time.Now()})
	}
	b.mu.Unlock()
	b.gone(m)
	return true
}

// unheard tells that a publisher has ended, and there was no room for the last that it sent, unless
// there is another one that says it again.
func (b *inbox) unheard(m *member, why error) {
	b.node.Logger().Warn("pubsub: a publisher has ended, and there was no room for the last that it sent", "topic", b.name, "publisher", m.id, "error", why)
	if c := m.cutShort(); c != nil && !b.hasOther(m) {
		b.tell(c, "gone")
	}
}

// hasOther reports whether AnyOne may go on elsewhere than at a publisher.
func (b *inbox) hasOther(m *member) bool {
	if b.turn == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for id := range b.members {
		if id != m.id {
			return true
		}
	}
	return false
}

// gone tells that a publisher has vanished, once for each time that it was heard, unless it
// has ended in good order.
func (b *inbox) gone(m *member) {
	if c := m.cutShort(); c != nil && b.turn == nil { // AnyOne goes on elsewhere
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

// tell puts a gap of unknown size behind what came on a connection.
func (b *inbox) tell(c *conn, reason string) {
	c.waiting.Add(1)
	select {
	case b.in <- &frames{conn: c, gap: &Gap{Reason: reason}}:
	case <-b.ctx.Done():
	}
}

// hears notes where a publisher has answered.
func (b *inbox) hears(m *member) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.answers == nil || len(b.answers) >= maxPast {
		b.answers = make(map[string]string)
	}
	b.answers[m.addr] = m.id
}

// heardBefore reports whether another publisher has answered at the address of one: an earlier
// run of it, of whose end the subscription has been told what there was to tell.
func (b *inbox) heardBefore(m *member) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	id, ok := b.answers[m.addr]
	return ok && id != m.id
}

// publishers yields the instances that are attended.
func (b *inbox) publishers() iter.Seq[string] {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Values(slices.Collect(maps.Keys(b.members)))
}

// forget lets go of a member that is no longer attended, and returns how many are left.
func (b *inbox) forget(m *member) (left int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.members[m.id] == m {
		delete(b.members, m.id)
	}
	return len(b.members)
}
