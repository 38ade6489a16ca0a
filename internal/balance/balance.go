// Package balance picks the instance that a call goes to.
//
// # Overview
//
// A [Set] holds the endpoints of one service and what was learned about each. A
// [Group] is a view of the endpoints that match, from which calls pick: by load,
// in turn, or by key.
//
// # Load
//
// The rule is power of two choices: draw two distinct instances at random,
// compare their loads, take the lighter. The load of an instance is
//
//	latency × (calls in flight + 1) / weight
//
// where latency is a moving average with a time constant of 10 s ([Decay]). This
// is what Finagle and Linkerd do, with these decisions:
//
//   - Draws are distinct and the candidates are never walked, so a pick inspects
//     two instances among any number. The two come in random order and the first
//     wins ties, so ties never favor one index.
//   - A failed call counts as at least [FailureLatency], so an instance that fails
//     fast repels calls instead of attracting them (linkerd2 #15374).
//   - An instance with fewer than [WarmSamples] answers has no latency yet, and is
//     compared by calls in flight alone: a new instance gets its share at once. It
//     neither starves because of a guess nor attracts a herd.
//   - The average rises at once, as Finagle's peak EWMA does, but to the least of
//     [SlowRun] slower samples in a row instead of to each slower one, and a single
//     one at most doubles it. Take five instances that share 2000 calls a second.
//     One that pauses once for 50 ms loses nothing; with Finagle's rule it would
//     lose 60 % of its calls in the next 20 s. One that becomes five times slower
//     gets 2 % of its share in the first second; with an average that rises as
//     slowly as it falls it would get 46 %. Two samples in a row would do for both,
//     but then long tails, equal on all instances, would disturb the shares: of a
//     thousand samples a second of which one in a hundred is slow, four in a row
//     occur once a day, three once in a quarter of an hour.
//   - An average that such a run has raised falls with a time constant of 2 s
//     ([PeakDecay]) instead of 10 s, unless the samples that follow are as slow: an
//     instance that was slow by chance has its share back after seconds.
//   - The average fades once an instance is idle for [IdleAfter], so that a slow or
//     failing instance is tried again: after 3 s if it was 50 times slower than the
//     others, and after 4 s ([IdleForget]) in any case. After such a pause only its new
//     answers count, with [ReturnTolerance], because they say little: of two equal
//     instances of which one is idle, the idle one takes three times as long as the
//     busy one to answer its first call.
//   - An instance is at least as slow as the time for which it has owed an answer.
//
// # Turns and keys
//
// [RoundRobin] takes turns by weight, with gRPC's static stride scheduler, which
// needs no lock and is fair over any window of picks. A pick with a [Key] uses a
// Maglev table of [TableSize] places: processes that see the same keys and weights
// agree, and a change moves little more than the share of what changed. An instance
// whose load is [LoadFactor] times the average, and at least [LoadFloor], is passed
// over. The table takes 256 KiB, and 8 bytes for each member. It is built at the
// first keyed pick after a change; groups without keyed picks have none.
//
// # Health
//
// An instance that joins others starts with a tenth of its share, which grows to
// the full share over [DefaultSlowStart].
//
// An instance that fails [DefaultErrors] times in a row is ejected: it is not picked
// while others are available. This is Envoy's consecutive-5xx outlier detection, with
// its numbers, except that there are no sweeps. An ejection ends when a probe is
// answered or its time is over, not at the next sweep. Each [DefaultInterval] of health
// since the last ejection compensates for one of the ejections in a row, as each sweep
// does in Envoy. Failures count however long ago the first was. At most [DefaultMax] of
// a set is ejected at a time. If less than [DefaultPanic] of a group is available,
// ejections are ignored, because the instances are then probably not the cause.
//
// An instance is silent if it has left calls without an answer for [SilenceFloor] and
// for [SilenceRatio] times its latency, or if a call to it has run out of time, and if
// it has answered no call that began later. It is passed over like an ejected one,
// without a limit on how many are, and is the last resort: if the others are silent, an
// instance in slow start gets all calls, and an ejected one is picked. Its next answer,
// or a new connection to it, ends the silence.
//
// Ejected and silent instances are probed: from time to time the next call that draws
// one goes there, one at a time. See [ProbeAfter] and [ProbesEjected]. Calls that must not
// run twice do not probe, see [Tried.Careful]: the owner asks the instance for a sign of
// life in another way.
//
// [Endpoint.Bar] excludes an instance from picks without exception.
//
// # Zones and subsets
//
// A zone-aware group of at least [ZoneMinimum] prefers the zone of the client as far
// as that zone has its part of the instances, and spills into other zones when too
// many of its own instances are out; see [ZoneSpare]. Instances count by number here,
// not by weight.
//
// Of a group of more than [SubsetAbove], a client keeps [DefaultSubset] by
// rendezvous hashing of [Options.Self] and the key, a third of them in other zones
// if the group is zone-aware. Keyed picks use the whole group, and other picks do so
// when all instances of the subset are out.
//
// # Cost
//
// Measured on two cores of a Xeon: a pick takes 10 ns, and 13 ns in a group of
// 10,000; in turn, by zone or by key about 35 ns. None allocates. When a part p of
// a large group is out, a pick looks at 1/(1−p) instances for each one it needs. An
// instance takes 300 bytes besides its key and value, and 60 for each further group
// it is in. Changing one of 10,000 takes 3 µs and 2 KiB for each group, replacing
// one 8 µs and 6 KiB.
//
// # Usage
//
//	var set balance.Set[*instance]
//	all := set.Group(nil, balance.GroupOptions{}, now)
//	removed := set.Update(put, remove, now)   // from discovery
//	...
//	var tried balance.Tried[*instance]        // on the caller's stack
//	e, ok := all.Pick(now, &tried, balance.Key{})
//	e.Begin(now)
//	...                                       // the call
//	e.End(start, now, balance.Answered)       // or e.Abandon()
//	tried.Add(e)                              // before a retry elsewhere
//
// # Time
//
// The package reads no clock: the caller passes nanoseconds, at least 0, on a
// monotonic scale of its choice, the same for all calls on a set. The caller can thus
// read the clock once for several uses.
//
// # Concurrency
//
// All types except [Tried] are safe for concurrent use. Begin, End, Abandon and Pick
// never wait, except for keyed picks that need the first table of a group, and allocate
// nothing, except for a keyed pick that builds a table. Methods that change a set, and
// [Endpoint.Bar], take a mutex that only they contend for.
package balance

import "time"

const (
	// Decay is the time constant of the latency average: an observation's share
	// falls to 1/e every Decay. Finagle's peak EWMA uses the same 10 s.
	Decay = 10 * time.Second

	// IdleAfter is how long after its last sample an endpoint's average begins to
	// fade. Endpoints with a call a second keep their average.
	IdleAfter = time.Second

	// IdleDecay is the time constant of that fading. With Decay in its place an
	// instance that was slow for its first 50 ms would be avoided for a minute.
	IdleDecay = 500 * time.Millisecond

	// IdleForget is how long after its last sample an endpoint's average is
	// forgotten, whatever it was.
	IdleForget = 4 * time.Second

	// ReturnTolerance replaces [LatencyTolerance] for an endpoint that was idle for longer
	// than IdleAfter, until it has had [WarmSamples] answers, of which the least counts. The
	// first calls to an idle instance take longer than those that follow, a few times as
	// long where they take microseconds. Judged by the first one alone, it would never be
	// picked again.
	ReturnTolerance = 4

	// FailureLatency is the least latency that a failed call counts as.
	FailureLatency = time.Second

	// WarmSamples is how many samples an endpoint's latency needs before it is
	// compared. The least of them counts, so that the slow calls of a fresh process
	// have no effect; only failures are averaged in, with a weight of one half each.
	WarmSamples = 8

	// SlowRun is how many samples in a row must be slower than the average for it to
	// rise to the least of them at once.
	SlowRun = 4

	// PeakDecay is the time constant with which an average that such a run has raised
	// falls to samples that are [PeakRatio] times as fast.
	PeakDecay = 2 * time.Second

	// PeakRatio is how many times as fast as the average a sample must be to count as
	// different from it.
	PeakRatio = 2

	// PeakHeld is how many samples in a row must be like an average that a run has raised
	// for it to count as normal for the instance: from then on it falls with Decay.
	PeakHeld = 8

	// Resolution is the least time between two samples of one endpoint's latency.
	// Calls that end sooner after a sample only lower the in-flight count: at a
	// time constant of 10 s they would weigh under 1/10000, and skipping them saves
	// a write to the endpoint's cache line.
	Resolution = time.Millisecond

	// LatencyTolerance is the factor within which two latencies count as equal.
	// Without it the better of two similar instances would win every comparison of a
	// sequential caller, because of noise.
	LatencyTolerance = 1.25

	// LatencyFloor is the latency below which two endpoints count as equally
	// fast, so that calls in flight decide.
	LatencyFloor = 10 * time.Microsecond
)
