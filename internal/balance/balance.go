// Package balance picks the instance a call goes to.
//
// # Overview
//
// The rule is power of two choices: draw two distinct instances at random,
// compare their loads, take the lighter. The load of an instance is
//
//	latency × (calls in flight + 1) / weight
//
// where latency is a moving average with a time constant of 10 s ([Decay]). It
// is what Finagle and Linkerd do, with these points settled on purpose:
//
//   - Draws are distinct and the candidates are never walked, so a pick inspects
//     two instances among any number. The two come in random order and the first
//     wins ties, which is the fair coin: ties never herd onto an index.
//   - A failed call counts as at least [FailureLatency], so an instance that fails
//     fast repels calls instead of attracting them (linkerd2 #15374).
//   - An instance with fewer than [WarmSamples] answers has no latency yet, and is
//     compared on calls in flight alone: a new instance gets its share from the
//     first moment, and neither starves on a guess nor draws a herd.
//   - The average fades once an instance is idle for [IdleAfter], so that one that
//     was slow or failing is tried again: about 15 s later if it was 1000 times
//     slower than the others. Its next answer then counts almost alone.
//
// # Usage
//
//	var table balance.Table[*instance]
//	table.Update(items)                     // discovery said so
//	...
//	var tried balance.Tried[*instance]      // on the caller's stack
//	e, ok := table.Pick(now, &tried)
//	e.Begin()
//	...                                     // the call
//	e.End(start, now, failed)               // or e.Abandon()
//	tried.Add(e)                            // before a retry elsewhere
//
// # Time
//
// The package reads no clock: the caller passes nanoseconds of one monotonic
// scale of its choice, the same for every call on an endpoint, and so reads the
// clock once for several uses.
//
// # Concurrency
//
// [Endpoint], [Picker] and [Table] are safe for concurrent use. Begin, End,
// Abandon and Pick take no lock and allocate nothing; they never wait.
// [Table.Update] takes a mutex that only other updates contend for.
package balance

import "time"

const (
	// Decay is the time constant of the latency average: an observation's share
	// falls by 1/e every Decay. Finagle's peak EWMA uses the same 10 s.
	Decay = 10 * time.Second

	// IdleAfter is how long after its last sample an endpoint's average begins to
	// fade. Endpoints with a call a second keep what was measured.
	IdleAfter = time.Second

	// IdleDecay is the time constant of that fading. With Decay in its place an
	// instance that was slow for its first 50 ms would be avoided for a minute.
	IdleDecay = 2 * time.Second

	// FailureLatency is the least latency a failed call is counted with.
	FailureLatency = time.Second

	// WarmSamples is how many samples an endpoint's latency needs before it is
	// compared. The least of them counts, so that the slow calls of a fresh process
	// leave nothing behind; only failures weigh in, a half each.
	WarmSamples = 8

	// SlowRun is how many samples in a row must be slower than the average for it to
	// rise to the least of them at once.
	SlowRun = 3

	// Resolution is the least time between two samples of one endpoint's latency.
	// Calls that end sooner after a sample only leave the in-flight count: at a
	// time constant of 10 s they weigh under 1/10000, and the endpoint's cache
	// line is spared a write.
	Resolution = time.Millisecond

	// LatencyTolerance is the factor within which two latencies count as equal.
	// Without it the better of two like instances would win every comparison of a
	// sequential caller, by noise.
	LatencyTolerance = 1.25

	// LatencyFloor is the latency below which two endpoints count as equally
	// fast, so that calls in flight decide.
	LatencyFloor = 10 * time.Microsecond
)
