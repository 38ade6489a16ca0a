package balance

import (
	"math"
	"sync/atomic"
	"time"
)

// load is what is known about one instance, for as long as it stays in the set. The fields
// that a pick reads of an instance without trouble fit into one cache line. Times are on
// the caller's scale.
type load struct {
	inflight atomic.Int64
	// measured is a packed measure, last updated at sampled.
	measured atomic.Uint64
	sampled  atomic.Int64
	// counted is a packed tally.
	counted atomic.Uint32
	// failures counts the failures in a row, below the two bits gone and unheard.
	failures atomic.Uint32
	// owed is since when the instance owes an answer, 0 if it owes none; see silence.
	owed atomic.Int64
	// special is the latest of barred, ejected and ramped: after it, all of them are past.
	special atomic.Int64
	// held is how many of inflight are streams.
	held atomic.Int64
	_    [cacheLine - 56]byte

	// barred is until when the instance must not be picked.
	barred atomic.Int64
	// ejected is until when the instance should not be picked.
	ejected atomic.Int64
	// ramped is until when the share of the instance grows.
	ramped atomic.Int64
	// outcast is when the last ejection began.
	outcast atomic.Int64
	// probe is when the next probe is due at the earliest; see terms.probes.
	probe atomic.Int64
	// met is when the last new connection to the instance was made.
	met atomic.Int64
	// mute is set if the last ejection was for lack of answers.
	mute atomic.Bool
	_    [cacheLine - 52]byte
}

const cacheLine = 64

const (
	// gone marks the load of an instance that left the set.
	gone uint32 = 1 << 31
	// unheard means that a call got no answer, and neither did any call that began after it.
	unheard uint32 = 1 << 30
)

// measure is the average latency, in nanoseconds at the time of sampled, and the
// least sample of the current run of slower ones.
type measure struct{ average, least float64 }

// unpack decodes a measure. A float32 is exact to 1/10⁷, far finer than [LatencyTolerance].
func unpack(word uint64) measure {
	return measure{float64(math.Float32frombits(uint32(word >> 32))), float64(math.Float32frombits(uint32(word)))}
}

func (m *measure) pack() uint64 {
	return uint64(math.Float32bits(float32(m.average)))<<32 | uint64(math.Float32bits(float32(m.least)))
}

// tally counts samples: how many there were, up to WarmSamples, and how many of the last
// ones in a row were slower than the average, below SlowRun. An average that such a run
// has raised is a peak until PeakHeld samples in a row are like it; alike is how many of
// these are still missing, 0 if the average is not a peak. returned is set for an instance
// that had been idle for [IdleAfter]: its samples are counted anew, and its latency is
// compared all the same.
type tally struct {
	samples, slower, alike uint32
	returned               bool
}

// returning is the bit of returned in a packed tally.
const returning = 1 << 24

func (t tally) pack() uint32 {
	word := t.alike<<16 | t.slower<<8 | t.samples
	if t.returned && t.samples < WarmSamples {
		word |= returning
	}
	return word
}

func (t tally) peaked() bool { return t.alike > 0 }

func (l *load) tally() tally {
	word := l.counted.Load()
	return tally{samples: word & 0xff, slower: word >> 8 & 0xff, alike: word >> 16 & 0xff, returned: word&returning != 0}
}

// calls returns how many calls are in flight. Streams do not count, because they are owed no
// answer.
func (l *load) calls() int64 { return l.inflight.Load() - l.held.Load() }

func (l *load) abandon() { l.inflight.Add(-1) }

// sample records one latency. The goroutine that advances l.sampled owns the sample;
// others within [Resolution] return, so there is neither a loop nor a lock. An owner that
// is suspended between its stores loses a later sample, which is harmless.
func (l *load) sample(elapsed, now int64, o Outcome) {
	last, t := l.sampled.Load(), l.tally()
	if now-last < int64(Resolution) && t.samples > 0 || o == Erred && t.samples < WarmSamples {
		return
	}
	if !l.sampled.CompareAndSwap(last, now) {
		return
	}
	failed := o == Faulted || o == Unanswered
	if failed {
		elapsed = max(elapsed, int64(FailureLatency))
	}
	m := unpack(l.measured.Load())
	m.average *= fadedBy(now - last)
	sample := float64(max(elapsed, 0))
	if o == Erred {
		sample = max(sample, m.average)
	}
	if t.samples == WarmSamples && now-last > int64(IdleAfter) {
		t = tally{returned: true}
	}
	if t.samples < WarmSamples {
		m.warmUp(t, sample, failed, decay(now-last, Decay))
		t.samples++
	} else {
		t = m.follow(t, sample, failed, now-last)
	}
	l.measured.Store(m.pack())
	if word := t.pack(); word != l.counted.Load() {
		l.counted.Store(word)
	}
}

// warmUp adds one of the first samples. keep is the weight that the average has left
// after the time since the last sample.
func (m *measure) warmUp(t tally, sample float64, failed bool, keep float64) {
	switch {
	case t.samples == 0:
		keep = 0
	case failed:
		keep = min(keep, 0.5)
	case sample < m.average:
		keep = 0
	default:
		// A slower sample is a hiccup of a fresh process.
		keep = 1
	}
	m.average = sample + (m.average-sample)*keep
}

// follow adds a sample of a warm instance, since nanoseconds after the last one, by the
// peak rule of the package comment.
func (m *measure) follow(t tally, sample float64, failed bool, since int64) tally {
	constant := Decay
	switch {
	case !t.peaked():
	case sample*PeakRatio < m.average:
		constant, t.alike = PeakDecay, PeakHeld
	default:
		t.alike--
	}
	if sample <= m.average {
		t.slower = 0
		m.average = sample + (m.average-sample)*decay(since, constant)
		return t
	}
	next := sample + (m.average-sample)*decay(since, Decay)
	if t.slower == 0 || sample < m.least {
		m.least = sample
	}
	t.slower++
	switch {
	case t.slower == SlowRun:
		next, t.slower, t.alike = max(next, m.least), 0, PeakHeld
	case !failed:
		next = min(next, 2*max(m.average, float64(LatencyFloor)))
	}
	m.average = next
	return t
}

// average returns the average latency in nanoseconds as of the last sample.
func (l *load) average() float64 {
	return float64(math.Float32frombits(uint32(l.measured.Load() >> 32)))
}

// tolerance returns the factor within which the latency counts as equal to another one, 0
// if it must not be compared.
func (l *load) tolerance() float64 {
	switch word := l.counted.Load(); {
	case word&0xff >= WarmSamples:
		return LatencyTolerance
	case word&returning != 0:
		return ReturnTolerance
	}
	return 0
}

// estimate returns the expected latency in nanoseconds, at least LatencyFloor, and at
// least the time for which the instance has owed an answer.
func (l *load) estimate(now int64) float64 {
	e := max(l.average()*fadedBy(now-l.sampled.Load()), float64(LatencyFloor))
	if owed := l.owed.Load(); owed != 0 && float64(now-owed) > e {
		e = max(e, float64(l.silence(now)))
	}
	return e
}

// fadedBy returns the factor by which an average fades after idle nanoseconds.
func fadedBy(idle int64) float64 {
	switch {
	case idle <= int64(IdleAfter):
		return 1
	case idle > int64(IdleForget):
		return 0
	}
	return decay(idle-int64(IdleAfter), IdleDecay)
}

// decay returns e^(-elapsed/constant). It is cheap for the short times of a busy endpoint.
func decay(elapsed int64, constant time.Duration) float64 {
	// Below short, the cubic term is less than 1e-6.
	const short = 1.0 / 64
	x := float64(max(elapsed, 0)) / float64(constant)
	if x < short {
		return 1 - x + x*x/2
	}
	return math.Exp(-x)
}

// latencyAt returns the average as of now, 0 without a sample, for reports.
func (l *load) latencyAt(now int64) time.Duration {
	if l.tally().samples == 0 {
		return 0
	}
	return time.Duration(max(l.average()*fadedBy(now-l.sampled.Load()), float64(LatencyFloor)))
}
