// Package balance picks the instance a call goes to.
//
// # Overview
//
// A [Set] holds the endpoints of one service and what was learned of each. A
// [Group] is a view on it, the endpoints that match, and is what one picks from:
// by load, in turn, or by key.
//
// # Load
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
//   - The average rises at once, as Finagle's peak EWMA does, but to the least of
//     [SlowRun] slower samples in a row instead of to each slower one, and a single
//     one at most doubles it. Of five instances that share 2000 calls a second,
//     one that pauses once for 50 ms then loses nothing, where it would lose 60 %
//     of its calls in the next 20 s; and one that turns five times slower gets 2 %
//     of its share in the first second, where an average that rises as slowly as
//     it falls gives it 46 %. Two in a row would do for both, but then long tails,
//     alike on all instances, would stir the shares: of a thousand samples a second
//     of which one in a hundred is slow, four in a row are once in a day, three once
//     in a quarter of an hour.
//   - What a run has raised falls with a time constant of 2 s ([PeakDecay]) in place of
//     10 s, unless the samples that follow are as slow: who was slow by chance has its
//     share back after seconds.
//   - The average fades once an instance is idle for [IdleAfter], so that one that
//     was slow or failing is tried again: after 3 s if it was 50 times slower than the
//     others, and after 4 s ([IdleForget]) whatever it was. Its next answers then count alone, with [ReturnTolerance], for they
//     say little: of two equals of which one is idle, that one answers its first call
//     in three times the time that the busy one takes.
//   - An instance is at least as slow as the time for which it has owed an answer.
//
// # Turns and keys
//
// [RoundRobin] takes turns by weight, with gRPC's static stride scheduler: no
// lock, and fair over any window of picks. A pick with a [Key] uses a Maglev table
// of [TableSize] places, so that processes that see the same keys and weights
// agree, and a change moves little more than the share of what changed; an
// instance that is loaded to [LoadFactor] times the average, and to [LoadFloor], is
// passed over. The
// table takes 256 KiB, and 8 bytes for each member. It is made at the first keyed
// pick after a change: groups whose picks carry no key have none.
//
// # Health
//
// An instance that joins others starts with a tenth of its share, which grows to
// the whole over [DefaultSlowStart].
//
// An instance that fails [DefaultErrors] times in a row is ejected: not picked
// while others are. It is Envoy's consecutive-5xx outlier detection, with its
// numbers, except that nothing sweeps: an ejection ends at its time at the latest and
// not at the next sweep, and before that when a probe is answered; each [DefaultInterval] of health since the last one makes up for one
// of the ejections in a row, as each sweep does in Envoy; and failures count
// however long ago the first was. At most [DefaultMax] of a set is ejected at a
// time. If less than [DefaultPanic] of a group is available, ejections are not
// heeded: the fault is likely not in the instances.
//
// An instance is silent that has left calls without an answer for [SilenceFloor] and
// for [SilenceRatio] times what it takes to answer, or that has let one run out of time,
// and has answered none that began later. It is passed over as one that is ejected, with
// no limit on how many are, and is the last resort: one that starts slowly has all its
// share, and one that is ejected is picked, when the others are silent. Its next answer,
// or a new connection to it, puts an end to that.
//
// Neither is waited for: now and then the next call that draws it goes there, as a
// probe, one at a time. See [ProbeAfter] and [ProbesEjected]. Calls that must not run twice are
// no probes, see [Tried.Careful]: the owner asks the instance for a sign of life in another way.
//
// [Endpoint.Bar] is the owner's word that an instance must not be picked, which
// nothing overrides.
//
// # Zones and subsets
//
// A zone-aware group of at least [ZoneMinimum] keeps to the zone of the client as
// far as that zone has its part of the instances, and spills into others when too
// many of those at home are out; see [ZoneSpare]. Instances count by number here,
// not by weight.
//
// Of a group of more than [SubsetAbove], a client keeps [DefaultSubset] by
// rendezvous hashing of [Options.Self] and the key, a third of them in other zones
// if the group is zone-aware. Keyed picks use the whole group, and so do others
// when all that are kept are out.
//
// # Cost
//
// Measured on two cores of a Xeon: a pick takes 10 ns, and 13 ns of
// 10,000; in turn, by zone or by key about 35 ns. None allocates. When a part p of
// a large group is out, a pick looks at 1/(1−p) instances for each it needs. An
// instance takes 300 bytes beside its key and value, and 60 for each further group
// it is in. Changing one of 10,000 takes 3 µs and 2 KiB for each group, replacing
// one 8 µs and 6 KiB.
//
// # Usage
//
//	var set balance.Set[*instance]
//	all := set.Group(nil, balance.GroupOptions{}, now)
//	removed := set.Update(put, remove, now)   // discovery said so
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
// The package reads no clock: the caller passes nanoseconds, not below 0, of one
// monotonic scale of its choice, the same for all calls on a set, and so reads the
// clock once for several uses.
//
// # Concurrency
//
// All types but [Tried] are safe for concurrent use. Begin, End, Abandon and Pick
// never wait and, but for a keyed pick that makes a table, allocate nothing; those
// that must wait for the first table of a group are the one exception. What
// changes a set, and [Endpoint.Bar], takes a mutex that only those contend for.
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
	IdleDecay = 500 * time.Millisecond

	// IdleForget is how long after its last sample nothing is left of an endpoint's
	// average, whatever it was.
	IdleForget = 4 * time.Second

	// ReturnTolerance is [LatencyTolerance] for an endpoint that was idle for longer than
	// IdleAfter, until it has had [WarmSamples] answers, of which the least counts: the
	// first calls to an instance that was left alone take longer than those that follow,
	// a few times as long where they take microseconds. Judged by the first alone it
	// would be left alone for good.
	ReturnTolerance = 4

	// FailureLatency is the least latency a failed call is counted with.
	FailureLatency = time.Second

	// WarmSamples is how many samples an endpoint's latency needs before it is
	// compared. The least of them counts, so that the slow calls of a fresh process
	// leave nothing behind; only failures weigh in, a half each.
	WarmSamples = 8

	// SlowRun is how many samples in a row must be slower than the average for it to
	// rise to the least of them at once.
	SlowRun = 4

	// PeakDecay is the time constant with which an average that such a run has raised
	// falls to samples that are [PeakRatio] times as fast.
	PeakDecay = 2 * time.Second

	// PeakRatio is how many times as fast as the average a sample is that is not like it.
	PeakRatio = 2

	// PeakHeld is how many samples in a row must be like an average that a run has raised
	// for it to count as the instance's: from then on it falls with Decay.
	PeakHeld = 8

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
