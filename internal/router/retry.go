package router

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/internal/backoff"
	"github.com/linkmesh/link/internal/balance"
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
	return time.Until(deadline) > d && backoff.Sleep(ctx, d) == nil
}

// maxRefusals bounds how often a call moves on to another instance because no
// handler saw it.
const maxRefusals = balance.MaxTried

// elsewhere reports whether a call that no handler saw goes to another instance.
// A call that was refused for overload takes a retry from the budget; otherwise
// each call would be sent many times to a service that is overloaded as a whole.
// Other refusals, such as those of a draining instance, cost nothing.
func (s *Search) elsewhere(overloaded bool) bool {
	s.refusals++
	if overloaded {
		return s.attempts < s.most() && s.retries("resource_exhausted") && s.takeRetry()
	}
	return s.refusals <= maxRefusals
}

// again reports whether a call that may have run is sent once more, after a
// pause.
func (s *Search) again(ctx context.Context, pause time.Duration) bool {
	if s.ask.once() || s.attempts >= s.most() || !s.retries("unavailable") {
		return false
	}
	if time.Until(s.deadline) <= pause || !s.takeRetry() {
		return false
	}
	if pause > 0 && backoff.Sleep(ctx, pause) != nil {
		return false
	}
	s.retry = retryPause(ctx, s.attempts+1, s.deadline)
	return s.retry
}

// most returns the maximum number of attempts. A mirrored copy has one: retries are for calls that somebody waits for.
func (s *Search) most() int {
	if s.copied {
		return 1
	}
	if n := s.plan.Retry.Attempts; n > 0 {
		return n
	}
	return maxAttempts
}

// retries reports whether the topology allows retries of calls that failed with
// the given code.
func (s *Search) retries(code string) bool {
	return s.plan.Retry.On == nil || slices.Contains(s.plan.Retry.On, code)
}

// takeRetry takes a retry from the service's budget and reports whether there was one.
func (s *Search) takeRetry() bool {
	s.broke = !s.service.budget.take(time.Now(), s.retryShare())
	return !s.broke
}

// retryShare returns how many retries each call earns, a fraction of one.
func (s *Search) retryShare() float64 {
	if budget := s.plan.Retry.Budget; budget > 0 {
		return float64(budget) / 100
	}
	return retryShare
}

// Earn counts the call for the retry budget of its service. It is called once, before the first attempt.
func (s *Search) Earn() {
	if !s.copied {
		s.service.budget.earn()
	}
}

// Spent returns the end of the error of an attempt after which the retry budget kept the call from being sent again, "" if
// it did not. It is about the last attempt that Done took in.
func (s *Search) Spent() string {
	if !s.spent {
		return ""
	}
	return fmt.Sprintf("; not sent again: the retries of calls to %s are limited to %.0f %% of the calls and %d a second, and used up",
		s.service.name, 100*s.retryShare(), retryPerSecond)
}
