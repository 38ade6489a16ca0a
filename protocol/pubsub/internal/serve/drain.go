package serve

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
)

const (
	// lastWords is how long before the end of a drain the subscriptions that are behind
	// are told which messages will not be delivered. It is a quarter of the drain if that
	// is less.
	lastWords = time.Second
	// drainLook is how often a subscription that was sent everything checks whether it is
	// still owed messages that other members of its group have.
	drainLook = 50 * time.Millisecond
)

// drain is the state of a hub in the drain of its node.
type drain struct {
	words context.Context //nolint:containedctx // ends when those that are behind are told so
	end   context.CancelCauseFunc
	// at is when words ends; nil if that is not known.
	at atomic.Pointer[time.Time]

	mu sync.Mutex // guards the fields below
	// subscriptions counts the subscriptions that were not delivered everything, missing the
	// messages that they were told of, and unacked the messages that they have not answered.
	subscriptions int
	missing       uint64
	unacked       int
}

// attach makes a drain of the node drain the hub too: subscriptions are sent what they are
// owed as long as there is time, and are told of the rest.
func (d *drain) attach(node *link.Node) {
	d.words, d.end = context.WithCancelCause(context.Background())
	node.OnDrain(func(ctx context.Context) error {
		deadline, ok := ctx.Deadline()
		if !ok {
			context.AfterFunc(ctx, func() { d.end(errDrained) })
			return nil
		}
		left := time.Until(deadline)
		left -= min(lastWords, left/4)
		at := time.Now().Add(left)
		d.at.Store(&at)
		time.AfterFunc(left, func() { d.end(errDrained) })
		return nil
	})
}

// tell logs how much was not delivered. It is called when the last subscription of another
// node has ended.
func (d *drain) tell(node *link.Node) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.subscriptions > 0 {
		link.HostOf(node).Logger().Warn("pubsub: the drain has ended before slow subscriptions had everything; they were told of the rest. A longer Config.Limits.DrainTimeout gives them more time",
			"subscriptions", d.subscriptions, "messages", d.missing, "unacked", d.unacked)
	}
	d.subscriptions, d.missing, d.unacked = 0, 0, 0
}

// until returns when subscriptions that are behind are told so, zero if that is not known.
func (d *drain) until() time.Time {
	if at := d.at.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// note counts a subscription that was not delivered everything.
func (d *drain) note(missing uint64, unacked int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.subscriptions++
	d.missing += missing
	d.unacked += unacked
}

// quiet reports whether the publisher drains and nothing more is published. It is always
// false for a subscription of the node itself.
func (s *session) quiet() bool {
	select {
	case <-s.out.Draining():
		return true
	default:
		return false
	}
}

// over returns a channel that is closed when a session that is behind must give up. It is
// nil for a subscription of the node itself, which is served to the end.
func (s *session) over() <-chan struct{} {
	if s.out.Draining() == nil {
		return nil
	}
	return s.hub.drain.words.Done()
}

// giveUp tells the subscriber which messages will not be delivered. Unsent is a frame that
// was still waiting to be sent.
func (s *session) giveUp(unsent []byte) error {
	// No subscriber would be told of a message that is published after this.
	s.hub.log.Seal()
	gaps, missing, unacked := s.cursor.GiveUp(time.Now(), unsent)
	if len(gaps)+unacked > 0 {
		s.hub.drain.note(missing, unacked)
	}
	if len(gaps) == 0 {
		return errDrained
	}
	if err := s.out.Last(gaps); err != nil {
		return err
	}
	return errDrained
}
