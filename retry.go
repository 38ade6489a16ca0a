package link

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/internal/clock"
)

// How calls that may run twice are sent again. The numbers are those that
// Finagle and Linkerd share for budgets, and gRPC's (A6) shape for backoff, with
// full jitter.
const (
	maxAttempts    = 3
	retryBase      = 25 * time.Millisecond
	retryMax       = time.Second
	retryShare     = 0.2 // tokens that a call earns; a retry costs one
	retryPerSecond = 10  // tokens that time earns
	retryBurst     = 100 // tokens kept: what 10 s earn
)

// retryBudget bounds how many calls to one service are sent again, so that
// retries never multiply an outage.
type retryBudget struct {
	calls atomic.Int64 // made since the last take

	mu     sync.Mutex // guards the fields below
	tokens float64
	at     time.Time
}

func (b *retryBudget) refillLocked(now time.Time) {
	if b.at.IsZero() {
		b.tokens = retryPerSecond
	} else {
		b.tokens += now.Sub(b.at).Seconds() * retryPerSecond
	}
	b.tokens = min(b.tokens, retryBurst)
	b.at = now
}

// earn counts a call: one in earnEvery, drawn at random, counts for all, so that
// calls rarely meet on the counter.
func (b *retryBudget) earn() {
	if rand.Uint32()%earnEvery == 0 { //nolint:gosec // a sample is not a secret
		b.calls.Add(earnEvery)
	}
}

const earnEvery = 16

// take reports whether a retry is allowed, when each call earns share of one.
func (b *retryBudget) take(now time.Time, share float64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refillLocked(now)
	b.tokens = min(b.tokens+float64(b.calls.Swap(0))*share, retryBurst)
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// retryPause waits before attempt n, counted from 2. It reports false if ctx or
// the deadline would end first.
func retryPause(ctx context.Context, n int, deadline time.Time) bool {
	d := min(retryBase<<(n-2), retryMax)
	d = time.Duration(rand.Float64() * float64(d)) //nolint:gosec // jitter is not a secret
	if time.Until(deadline) <= d {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// MayMove implements [transport.Mover]: a call that changes nothing leaves an instance
// in doubt when another has a connection that is not, and the budget of retries has
// room.
func (o *outgoing) MayMove() bool {
	if r, known := o.by.Route(uint64(o.Route.Kind), o.Route.Name); !known || levelOf(r) != ReadOnly {
		return false // its server has not said that it changes nothing
	}
	return o.attempts < o.most() && o.retries("unavailable") && o.alternative() && o.takeRetry()
}

// maxLooks is how many instances alternative looks at.
const maxLooks = 8

// alternative reports whether another instance for the call, of its level or of a later one,
// has a connection and is not in doubt. It begins to connect to one if none has.
func (o *outgoing) alternative() bool {
	if o.config.instance != "" {
		return false
	}
	tried, now, class := o.tried, clock.Now(), o.class()
	tried.Add(o.at)
	looks, dialed := 0, false
	for _, l := range o.levels[o.level:] {
		for ; l.other == "" && looks < maxLooks; looks++ {
			e, ok := l.group.Pick(now, &tried, o.key)
			if !ok {
				break
			}
			in := e.Value()
			session := in.peer.Live(class)
			switch {
			case now < in.state.leaving.Load():
			case session == nil && !dialed: // so that there is one when it is looked again
				_, err := in.peer.Connect(class)
				dialed = err == nil
			case session != nil && !session.Doubtful():
				return true
			}
			tried.Add(e)
		}
	}
	return false
}
