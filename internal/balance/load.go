package balance

import (
	"math"
	"sync/atomic"
	"time"
)

// load is the measured state of one instance. It outlives the snapshots that
// refer to it. It fits one cache line, which a pick reads anyway.
type load struct {
	inflight atomic.Int64
	latency  atomic.Uint64 // bits of a float64: average in nanoseconds at the time of sampled
	sampled  atomic.Int64  // when latency was last updated, on the caller's scale
	samples  atomic.Uint32 // counted up to WarmSamples
	_        [36]byte      // its own cache line: two hot instances never share one
}

func (l *load) begin() { l.inflight.Add(1) }

func (l *load) abandon() { l.inflight.Add(-1) }

// end takes one sample. Whoever moves l.sampled owns the sample; everybody else
// within [Resolution] leaves, so there is no loop and no lock. An owner that is
// suspended between its two stores loses a later sample, which is harmless.
func (l *load) end(elapsed, now int64, failed bool) {
	l.inflight.Add(-1)
	samples, last := l.samples.Load(), l.sampled.Load()
	if now-last < int64(Resolution) && samples > 0 {
		return
	}
	if !l.sampled.CompareAndSwap(last, now) {
		return
	}
	if failed {
		elapsed = max(elapsed, int64(FailureLatency))
	}
	sample := float64(max(elapsed, 0))
	old := math.Float64frombits(l.latency.Load()) * fadedBy(now-last)
	keep := decay(now-last, Decay)
	if samples < WarmSamples {
		l.samples.Store(samples + 1)
		switch {
		case samples == 0:
			keep = 0
		case failed:
			keep = min(keep, 0.5)
		case sample < old:
			keep = 0
		default: // a hiccup of a fresh process
			keep = 1
		}
	}
	l.latency.Store(math.Float64bits(sample + (old-sample)*keep))
}

// warm reports whether the latency may be compared.
func (l *load) warm() bool { return l.samples.Load() >= WarmSamples }

// estimate is the latency in nanoseconds to expect, at least LatencyFloor.
func (l *load) estimate(now int64) float64 {
	average := math.Float64frombits(l.latency.Load())
	return max(average*fadedBy(now-l.sampled.Load()), float64(LatencyFloor))
}

// fadedBy is what idling leaves of an average.
func fadedBy(idle int64) float64 {
	if idle <= int64(IdleAfter) {
		return 1
	}
	return decay(idle-int64(IdleAfter), IdleDecay)
}

// decay is e^(-elapsed/constant), cheap for the short times of a busy endpoint.
func decay(elapsed int64, constant time.Duration) float64 {
	const short = 1.0 / 64 // the cubic term is below 1e-6
	x := float64(max(elapsed, 0)) / float64(constant)
	if x < short {
		return 1 - x + x*x/2
	}
	return math.Exp(-x)
}

// latencyAt is estimate as a duration, 0 without a sample, for reports.
func (l *load) latencyAt(now int64) time.Duration {
	if l.samples.Load() == 0 {
		return 0
	}
	return time.Duration(l.estimate(now))
}
