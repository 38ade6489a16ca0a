package pubsub

import "time"

// idleAfter is how long a subscription without a publisher waits before the log says so.
const idleAfter = 5 * time.Second

// tellIdle says in the log, once, that a subscription has no publisher yet: a name may be
// wrong. why says what is known of that, nil if somebody publishes after all.
func (b *inbox) tellIdle(why func() error) {
	t := time.NewTimer(idleAfter)
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
		b.node.Logger().Warn("pubsub: a subscription has no publisher yet, and waits for one", "topic", b.name, "for", idleAfter, "error", err)
	}
}

// heard reports whether the subscription has been joined to any publisher.
func (b *inbox) heard() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.past) > 0 {
		return true
	}
	for _, m := range b.members {
		m.mu.Lock()
		joined := m.last != nil
		m.mu.Unlock()
		if joined {
			return true
		}
	}
	return false
}
