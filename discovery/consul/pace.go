package consul

import (
	"math/rand/v2"
	"time"

	"github.com/linkmesh/link/internal/backoff"
)

// Rate of the blocking queries of one watch: the token bucket that Consul's documentation asks for,
// with an interval that grows under sustained churn.
const (
	paceBurst = 2

	// paceQuick is the initial interval between queries.
	paceQuick = time.Second

	// paceSlow is the longest interval between queries under sustained churn.
	paceSlow = 15 * time.Second

	// paceHold is how long the bucket must be empty before the interval grows.
	paceHold = 30 * time.Second
)

// pacer is the token bucket. The zero value is full. It belongs to one goroutine.
type pacer struct {
	// spent is the number of tokens missing from the bucket.
	spent float64
	every time.Duration

	// at is when spent was last updated. It is zero before the first query.
	at time.Time

	// busy is when the bucket became empty. It is zero if the bucket is not empty.
	busy time.Time
}

// next takes a token and returns how long to wait before the query. The interval grows to slowest at
// most.
func (p *pacer) next(now time.Time, slowest time.Duration) time.Duration {
	p.every = min(max(p.every, paceQuick), slowest)
	if !p.at.IsZero() {
		p.spent = max(0, p.spent-float64(now.Sub(p.at))/float64(p.every))
	}
	p.at = now
	if p.spent == 0 {
		p.every, p.busy = paceQuick, time.Time{}
	}
	p.spent++
	if p.spent <= paceBurst {
		return 0
	}
	if p.busy.IsZero() {
		p.busy = now
	} else if now.Sub(p.busy) >= paceHold {
		p.every = min(2*p.every, slowest)
	}
	return time.Duration((p.spent - paceBurst) * float64(p.every))
}

// retryPause returns a wait with full jitter after the n-th consecutive failure, counted from 1: a random part of least
// doubled n-1 times, at most most and at least a fifth of least.
func retryPause(n int, least, most time.Duration) time.Duration {
	return max(least/5, backoff.Backoff{Least: least, Most: most, Jitter: 1}.Pause(n))
}

// around returns d plus or minus up to the given part of it, uniformly distributed.
func around(d time.Duration, part float64) time.Duration {
	return time.Duration(float64(d) * (1 - part + 2*part*rand.Float64())) //nolint:gosec // chance keeps clients apart, not secrets
}
