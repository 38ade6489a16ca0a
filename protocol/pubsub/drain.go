package pubsub

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
)

const (
	// lastWords is how long before the end of a drain the subscriptions that are behind
	// are told what does not come any more; a quarter of the drain if that is less.
	lastWords = time.Second
	// drainLook is how often a subscription that has all looks whether it is still owed
	// something that others of its group have.
	drainLook = 50 * time.Millisecond
)

// drain is what a hub knows of the drain of its node.
type drain struct {
	words context.Context //nolint:containedctx // ends when those that are behind are told so
	end   context.CancelCauseFunc
	at    atomic.Pointer[time.Time] // when words ends; nil: nobody knows

	mu            sync.Mutex // guards the fields below
	subscriptions int        // subscriptions that were not delivered everything
	missing       uint64     // messages that these were told of
	unacked       int        // messages that these have, and had not answered
}

// attach makes a drain of the node drain the hub, too: its subscriptions get what they are
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

// tell says in the log what was not delivered, when the last subscription has ended.
func (d *drain) tell(node *link.Node) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.subscriptions > 0 {
		node.Logger().Warn("pubsub: the drain has ended before slow subscriptions had everything; they were told of the rest. A longer Config.DrainTimeout gives them more time",
			"subscriptions", d.subscriptions, "messages", d.missing, "unacked", d.unacked)
	}
	d.subscriptions, d.missing, d.unacked = 0, 0, 0
}

// until is when they are, zero if that is not known.
func (d *drain) until() time.Time {
	if at := d.at.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

func (d *drain) note(missing uint64, unacked int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.subscriptions++
	d.missing += missing
	d.unacked += unacked
}

// quiet reports whether nothing is published any more.
func (s *session) quiet() bool {
	select {
	case <-s.out.draining(): // nil of a subscription of this node
		return true
	default:
		return false
	}
}

// over is closed when a session that is behind gives up: never of a subscription of the
// node itself, which hears it to the end.
func (s *session) over() <-chan struct{} {
	if s.out.draining() == nil {
		return nil
	}
	return s.hub.drain.words.Done()
}

// giveUp tells the subscriber what does not come any more. Unsent is a frame that waited
// for it.
func (s *session) giveUp(unsent []byte) error {
	s.hub.log.Seal() // what is published after this would be told to nobody
	gaps, missing, unacked := s.cursor.GiveUp(time.Now(), unsent)
	if len(gaps)+unacked > 0 {
		s.hub.drain.note(missing, unacked)
	}
	if len(gaps) == 0 {
		return errDrained
	}
	if err := s.out.last(gaps); err != nil {
		return err
	}
	return errDrained
}
