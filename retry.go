package link

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/internal/backoff"
	"github.com/linkmesh/link/internal/clock"
)

// How calls that may run twice are retried. The budget has the numbers that
// Finagle and Linkerd share; the backoff has the shape of gRPC's (A6), with full
// jitter.
const (
	maxAttempts    = 3
	retryBase      = 25 * time.Millisecond
	retryMax       = time.Second
	retryShare     = 0.2 // tokens that a call earns; a retry costs one
	retryPerSecond = 10  // tokens that time earns
	retryBurst     = 100 // tokens kept: what 10 s earn
)

// retryBudget bounds how many calls to one service are retried, so that retries
// never multiply an outage.
type retryBudget struct {
	// calls counts the calls since the last take.
	calls atomic.Int64

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

// earn counts a call. One in earnEvery, chosen at random, counts for all of them, so
// that concurrent calls rarely contend for the counter.
func (b *retryBudget) earn() {
	if rand.Uint32()%earnEvery == 0 { //nolint:gosec // a sample is not a secret
		b.calls.Add(earnEvery)
	}
}

const earnEvery = 16

// take takes a retry and reports whether there was one. Each call earns share of one.
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

// retryPause waits before attempt n, where the first retry is attempt 2. It reports
// false if ctx ends first, or at once if the deadline would.
func retryPause(ctx context.Context, n int, deadline time.Time) bool {
	d := backoff.Backoff{Least: retryBase, Most: retryMax, Jitter: 1}.Pause(n - 1)
	if time.Until(deadline) <= d {
		return false
	}
	return backoff.Sleep(ctx, d) == nil
}

// MayMove implements [transport.Mover]. A read-only call leaves an instance that is in
// doubt if another instance has a connection that is not in doubt, and if the retry
// budget has room.
func (o *outgoing) MayMove() bool {
	// The server must have announced that the method is read-only.
	if r, known := o.by.Route(uint64(o.Route.Kind), o.Route.Name); !known || levelOf(r) != ReadOnly {
		return false
	}
	return o.attempts < o.most() && o.retries("unavailable") && o.alternative() && o.takeRetry()
}

// maxLooks is how many instances alternative looks at.
const maxLooks = 8

// alternative reports whether another instance for the call, at its level or at a later one,
// has a connection that is not in doubt. It begins to connect to one that has no connection.
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
			case session == nil && !dialed:
				// Dial, so that there may be a connection when MayMove is called again.
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
