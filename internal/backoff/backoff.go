// Package backoff spaces attempts that follow failures, so that clients that failed together do not all come back
// together (Brooker, "Exponential Backoff And Jitter", 2015).
package backoff

import (
	"context"
	"math"
	"math/rand/v2"
	"time"
)

// Backoff describes pauses that grow with every failure. It is a value without state.
type Backoff struct {
	// Least and Most bound the pause before jitter: it is Least after the first failure and never more than Most.
	Least, Most time.Duration
	// Factor is by how much the pause grows with each failure. Zero means 2.
	Factor float64
	// Jitter is the random part of each pause, from 0 to 1: a pause of d lasts from d·(1-Jitter) to d. Zero means a half.
	Jitter float64
}

// Pause returns how long to wait after n failures in a row. An n below 1 counts as 1.
func (b Backoff) Pause(n int) time.Duration {
	factor, jitter := b.Factor, b.Jitter
	if factor == 0 {
		factor = 2
	}
	if jitter == 0 {
		jitter = 0.5
	}
	// A float64 holds any power that may come up; beyond it the result is +Inf, of which Most is the minimum.
	d := min(float64(b.Least)*math.Pow(factor, float64(max(n-1, 0))), float64(b.Most))
	return time.Duration(d * (1 - jitter*rand.Float64())) //nolint:gosec // jitter is not a secret
}

// Wait blocks for Pause(n). It returns the cause of ctx if that ends first.
func (b Backoff) Wait(ctx context.Context, n int) error { return Sleep(ctx, b.Pause(n)) }

// Sleep blocks for d. It returns the cause of ctx if that ends first, or has ended.
func Sleep(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
