package consul

import (
	"math"
	"math/rand/v2"
	"time"
)

// Pace of the blocking queries of one watch: the token bucket that Consul's documentation asks
// for, with a rate that slides down under sustained churn.
const (
	paceBurst = 2
	paceQuick = time.Second      // between queries, as long as it has not lasted
	paceSlow  = 15 * time.Second // between queries, when it does
	paceHold  = 30 * time.Second // how long the bucket has to be empty before the rate slides
)

// pacer is the bucket. The zero value is full. It belongs to one goroutine.
type pacer struct {
	spent float64 // tokens that are missing from the bucket
	every time.Duration
	at    time.Time // when spent was last right; zero: never
	busy  time.Time // since when the bucket is empty; zero: it is not
}

// next takes a token and returns how long to wait before the query, given a bound of the slide.
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

// backoff returns a wait with full jitter after the n-th failure in a row, n from 1: a random part
// of least doubled n-1 times, at most most and at least a fifth of least. Full jitter keeps those apart who failed together.
func backoff(n int, least, most time.Duration) time.Duration {
	limit := float64(least) * math.Pow(2, float64(min(n-1, 30)))
	return max(least/5, rand.N(time.Duration(min(limit, float64(most))))) //nolint:gosec // chance keeps clients apart, not secrets
}

// around returns d give or take a part of it, evenly spread.
func around(d time.Duration, part float64) time.Duration {
	return time.Duration(float64(d) * (1 - part + 2*part*rand.Float64())) //nolint:gosec // chance keeps clients apart, not secrets
}
