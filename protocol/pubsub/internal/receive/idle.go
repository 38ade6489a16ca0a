package receive

import (
	"slices"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/spell"
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
)

// tellIdle logs, once, that a subscription has no publisher after [frame.IdleAfter], because a name
// may be wrong. why returns the reason as far as it is known, nil if there is a publisher
// after all.
func (b *Inbox) tellIdle(why func() error) {
	t := time.NewTimer(frame.IdleAfter)
	defer t.Stop()
	select {
	case <-t.C:
	case <-b.ctx.Done():
		return
	}
	if b.heard() {
		return
	}
	if err := why(); err != nil {
		b.mu.Lock()
		b.idle = err.Error()
		b.mu.Unlock()
		link.HostOf(b.conf.Node).Logger().Warn("pubsub: a subscription has no publisher yet, and waits for one", "topic", b.conf.Topic, "for", frame.IdleAfter, "error", err)
	}
}

// heard reports whether the subscription has been joined to any publisher.
func (b *Inbox) heard() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.past) > 0 {
		return true
	}
	for m := range b.members.All() {
		m.mu.Lock()
		joined := m.last != nil
		m.mu.Unlock()
		if joined {
			return true
		}
	}
	return false
}

// published handles a publisher's report on whether its node publishes to the topic. If none
// of the connected nodes does, it logs that, once, because a name may be wrong.
func (i intake) published(say *frame.Published) {
	m := i.member
	m.mu.Lock()
	m.nobody = nil
	if !say.Any {
		m.nobody = say
	}
	m.mu.Unlock()
	why := i.box.unpublished()
	if why == nil {
		return
	}
	i.box.mu.Lock()
	first := !i.box.told
	i.box.told = true
	i.box.mu.Unlock()
	if first {
		link.HostOf(i.box.conf.Node).Logger().Warn("pubsub: a subscription waits, and nobody publishes to its topic", "topic", i.box.conf.Topic, "for", frame.IdleAfter, "error", why)
	}
}

// unpublished returns an error if there are connected publishers and all of them have
// reported that their nodes do not publish to the topic. Otherwise it returns nil.
func (b *Inbox) unpublished() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	count := 0
	var near []string
	for m := range b.members.All() {
		m.mu.Lock()
		connected, nobody := m.conn != nil, m.nobody
		m.mu.Unlock()
		switch {
		case !connected:
		case nobody == nil:
			return nil
		default:
			count++
			near = append(near, nobody.Near...)
		}
	}
	if count == 0 {
		return nil
	}
	slices.Sort(near)
	near = slices.Compact(near)
	return link.Errorf(link.NotFound, "none of the %d instances that are connected publishes to it%s", count, spell.Proposed(near[:min(len(near), spell.MaxProposed)]))
}

// why returns why no message can arrive, as far as that is known, "" if one can.
func (b *Inbox) why() string {
	if err := b.unpublished(); err != nil {
		return err.Error()
	}
	if b.heard() {
		return ""
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.idle
}
