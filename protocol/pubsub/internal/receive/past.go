package receive

import (
	"maps"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// meetLocked returns the member for a publisher that has appeared. late is set if that was after the
// subscription began.
func (b *Inbox) meetLocked(service string, in discovery.Instance, late bool) *Member {
	m := newMember(service, in.ID, b.conf.Ask, late)
	m.Topic, m.addr = b.conf.Topic, in.Addr
	if was, ok := b.past[in.ID]; ok {
		m.goOn(was.position)
		delete(b.past, in.ID)
	} else if b.conf.Marks != nil {
		m.resume(b.conf.Marks)
	}
	return m
}

// past is where a subscription was at a publisher that discovery no longer shows, and that may
// come back.
type past struct {
	position journal.Position
	left     time.Time
}

// maxPast bounds the publishers in Inbox.past, about 100 bytes each. If there are more, the one
// that left first is evicted.
const maxPast = 1024

// partLocked notes where the subscription was at a publisher that discovery no longer shows, and whose
// stream has ended.
func (b *Inbox) partLocked(m *Member) {
	if p, ok := m.position(); ok {
		b.rememberLocked(m.ID, past{p, time.Now()})
	}
}

func (b *Inbox) rememberLocked(id string, p past) {
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

// hears notes that a publisher has answered at its address.
func (b *Inbox) hears(m *Member) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.answers == nil || len(b.answers) >= maxPast {
		b.answers = make(map[string]string)
	}
	b.answers[m.addr] = m.ID
}

// heardBefore reports whether another publisher has answered at m's address. That was an earlier
// run of m, and the subscription has been told of its end.
func (b *Inbox) heardBefore(m *Member) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	id, ok := b.answers[m.addr]
	return ok && id != m.ID
}

// resume lets a new member go on where an earlier subscription was.
func (m *Member) resume(marks map[string]journal.Position) {
	if p, ok := marks[m.ID]; ok {
		m.goOn(p)
	} else if m.want.Start == frame.StartNew {
		m.want.Start = frame.StartAll
	}
}

// position returns how far the subscription has come at the publisher, and whether that is
// known.
func (m *Member) position() (journal.Position, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.positionLocked()
	return p, p.Epoch != 0
}

// Marks returns how far the subscription has come, by the IDs of its publishers.
func (b *Inbox) Marks() map[string]journal.Position {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make(map[string]journal.Position)
	maps.Copy(all, b.conf.Marks)
	for id, p := range b.past {
		all[id] = p.position
	}
	for m := range b.members.All() {
		if p, ok := m.position(); ok {
			all[m.ID] = p
		}
	}
	return all
}
