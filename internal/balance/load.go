package balance

import (
	"math"
	"sync/atomic"
	"time"
)

// load is what is known of one instance, for as long as it stays in the set. What a
// pick reads of an instance that has no trouble fits one cache line.
type load struct {
	inflight atomic.Int64
	measured atomic.Uint64 // see measure
	sampled  atomic.Int64  // when measured was last updated, on the caller's scale
	counted  atomic.Uint32 // see tally
	failures atomic.Uint32 // in a row, below the two bits gone and unheard
	owed     atomic.Int64  // since when it owes an answer, 0 if it owes none; see silence
	special  atomic.Int64  // the latest of barred, ejected and ramped: after it, all are past
	held     atomic.Int64  // how many of inflight are streams
	_        [cacheLine - 56]byte

	barred  atomic.Int64 // until when it must not be picked
	ejected atomic.Int64 // until when it should not be picked
	ramped  atomic.Int64 // until when its share still grows
	outcast atomic.Int64 // when the last ejection began
	probe   atomic.Int64 // before then it gets no probe; see probing
	met     atomic.Int64 // when there was a new connection to it last
	mute    atomic.Bool  // it was ejected because it did not answer
	_       [cacheLine - 52]byte
}

const cacheLine = 64

const (
	// gone marks the load of an instance that left the set.
	gone uint32 = 1 << 31
	// unheard says that a call got no answer, and none that began after it did.
	unheard uint32 = 1 << 30
)

// measure is the average latency, in nanoseconds at the time of sampled, and the
// least sample of the current run of slower ones.
type measure struct{ average, least float64 }

// A float32 holds either to 1/10⁷, far finer than [LatencyTolerance].
func unpack(word uint64) measure {
	return measure{float64(math.Float32frombits(uint32(word >> 32))), float64(math.Float32frombits(uint32(word)))}
}

func (m *measure) pack() uint64 {
	return uint64(math.Float32bits(float32(m.average)))<<32 | uint64(math.Float32bits(float32(m.least)))
}

// tally is how many samples there were, up to WarmSamples, and how many of the last ones
// in a row were slower than the average, below SlowRun. An average that such a run has
// raised is a peak until PeakHeld samples in a row are like it; alike is how many of
// these are still to come, 0 if it is not a peak. An instance that has returned is one that
// nobody had asked for [IdleAfter]: its samples are counted anew, and what is known of
// it is compared all the same.
type tally struct {
	samples, slower, alike uint32
	returned               bool
}

// returning is where a tally keeps that.
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

// calls is how many calls are in flight, to which an answer is owed.
func (l *load) calls() int64 { return l.inflight.Load() - l.held.Load() }

func (l *load) abandon() { l.inflight.Add(-1) }

// sample takes one latency. Whoever moves l.sampled owns the sample; everybody
// else within [Resolution] leaves, so there is no loop and no lock. An owner that
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

// warmUp takes in one of the first samples; keep is what the time since the last
// one leaves of the average.
func (m *measure) warmUp(t tally, sample float64, failed bool, keep float64) {
	switch {
	case t.samples == 0:
		keep = 0
	case failed:
		keep = min(keep, 0.5)
	case sample < m.average:
		keep = 0
	default: // a hiccup of a fresh process
		keep = 1
	}
	m.average = sample + (m.average-sample)*keep
}

// follow takes in a sample of an instance that is warm, so long after the last one: the
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

// average is the average latency in nanoseconds as of the last sample.
func (l *load) average() float64 {
	return float64(math.Float32frombits(uint32(l.measured.Load() >> 32)))
}

// tolerance is the factor within which the latency counts as equal to another one, 0 if
// it may not be compared.
func (l *load) tolerance() float64 {
	switch word := l.counted.Load(); {
	case word&0xff >= WarmSamples:
		return LatencyTolerance
	case word&returning != 0:
		return ReturnTolerance
	}
	return 0
}

// estimate is the latency in nanoseconds to expect, at least LatencyFloor, and at least
// as long as the instance has already left calls without an answer.
func (l *load) estimate(now int64) float64 {
	e := max(l.average()*fadedBy(now-l.sampled.Load()), float64(LatencyFloor))
	if owed := l.owed.Load(); owed != 0 && float64(now-owed) > e {
		e = max(e, float64(l.silence(now)))
	}
	return e
}

// fadedBy is what idling leaves of an average.
func fadedBy(idle int64) float64 {
	switch {
	case idle <= int64(IdleAfter):
		return 1
	case idle > int64(IdleForget):
		return 0
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

// latencyAt is the average as of now, 0 without a sample, for reports.
func (l *load) latencyAt(now int64) time.Duration {
	if l.tally().samples == 0 {
		return 0
	}
	return time.Duration(max(l.average()*fadedBy(now-l.sampled.Load()), float64(LatencyFloor)))
}
