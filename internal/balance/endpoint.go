package balance

import (
	"math"
	"time"
)

// Endpoint is one instance in a snapshot. Its key, value, weight and zone are
// immutable. Its state lives as long as the instance is known: when the value, the
// weight or the zone changes, the new Endpoint shares the state of the old one.
type Endpoint[T any] struct {
	load   *load
	ward   *ward
	key    string
	zone   string
	value  T
	weight uint32
}

// Key returns the key, which identifies the instance.
func (e *Endpoint[T]) Key() string { return e.key }

// Value returns the value that the owner attached to the instance.
func (e *Endpoint[T]) Value() T { return e.value }

// Weight returns the weight, at least 1.
func (e *Endpoint[T]) Weight() uint32 { return e.weight }

// Zone returns where the instance runs, "" if unknown.
func (e *Endpoint[T]) Zone() string { return e.zone }

// Outcome is how a call ended.
type Outcome uint8

const (
	// Answered means that a reply came.
	Answered Outcome = iota
	// Erred means that the handler returned an error. The instance counts as healthy, but
	// the call does not lower its latency, because errors come fast.
	Erred
	// Faulted means that the instance is to blame: it refused the call, or its handler
	// panicked.
	Faulted
	// Unanswered means that no answer came: the connection was lost, or the time was up.
	Unanswered
)

// Begin counts a call that is sent at now. It must be followed by exactly one End or
// Abandon.
func (e *Endpoint[T]) Begin(now int64) { e.load.begin(now) }

// Hold counts a stream, to which no answer is expected, as in flight. It must be
// followed by exactly one Release.
func (e *Endpoint[T]) Hold() {
	e.load.held.Add(1)
	e.load.inflight.Add(1)
}

// Release ends what Hold has counted.
func (e *Endpoint[T]) Release() {
	e.load.inflight.Add(-1)
	e.load.held.Add(-1)
}

// End ends a call that Begin has counted, and adds its time, now − start in nanoseconds,
// to the latency. Enough calls in a row that ended Faulted or Unanswered eject the
// instance. Any other answer to a call that began after the ejection ends it, and what
// was measured before is forgotten.
func (e *Endpoint[T]) End(start, now int64, o Outcome) {
	l := e.load
	l.abandon()
	overdue := false
	if o == Unanswered {
		l.unanswered()
	} else if overdue = l.answered(start, now); o != Faulted && l.readmits(start, now) && e.ward.restore(l, now) {
		l.counted.Store(0)
	}
	l.sample(now-start, now, o)
	if overdue && o == Answered {
		l.heal(now - start)
	}
	if o == Faulted || o == Unanswered {
		e.ward.failed(l, now, o)
	} else if f := l.failures.Load(); f&^gone != 0 {
		l.failures.And(gone)
	}
}

// Heard records a new connection to the instance: it is no longer silent, and if it is
// ejected, the next call that draws it is a probe.
func (e *Endpoint[T]) Heard(now int64) { e.load.heard(now) }

// Answers records the sign of life that [Tried.Due] asks for. The instance is no longer silent, unless
// calls still wait for it. If it was ejected because it did not answer, and there has been a new connection
// since, the ejection ends: the process is a new one, or is reachable again. Without a new connection the
// ejection stays, because a process that receives packets may still have handlers that do not answer.
func (e *Endpoint[T]) Answers(now int64) {
	if l := e.load; l.pardons(now) && e.ward.restore(l, now) {
		l.counted.Store(0)
	}
}

// Silence returns how long the instance has owed an answer as of now, measured from the
// first call that began after its last answer. It is 0 if it owes none.
func (e *Endpoint[T]) Silence(now int64) time.Duration { return time.Duration(e.load.silence(now)) }

// Abandon ends a call that Begin has counted, without a sample: the caller gave up, or
// the call was never sent, so its time says nothing about the instance.
func (e *Endpoint[T]) Abandon() { e.load.abandon() }

// InFlight returns the number of calls and streams in flight.
func (e *Endpoint[T]) InFlight() int64 { return e.load.inflight.Load() }

// Latency returns the average latency as of now, 0 without a sample.
func (e *Endpoint[T]) Latency(now int64) time.Duration { return e.load.latencyAt(now) }

// Bar excludes the instance from picks until the given time, even in panic: it
// presented a wrong identity, it drains, or it must not be dialed yet. A bar is
// never shortened by another one; see [Endpoint.Unbar]. An instance that left its
// set is barred forever. Unlike the methods above, Bar takes the lock of the set.
func (e *Endpoint[T]) Bar(until int64) { e.ward.bar(e.load, until) }

// Barred reports whether the instance is barred at now.
func (e *Endpoint[T]) Barred(now int64) bool { return e.load.barred.Load() > now }

// Unbar lifts the bar. It takes no lock if there is none.
func (e *Endpoint[T]) Unbar() { e.ward.unbar(e.load) }

// Ejected reports whether the instance is ejected at now, and until when.
func (e *Endpoint[T]) Ejected(now int64) (until int64, ok bool) {
	until = e.load.ejected.Load()
	if until <= now {
		return 0, false
	}
	return until, true
}

// Share returns the fraction of its share that slow start grants the instance at
// now, above 0 and at most 1.
func (e *Endpoint[T]) Share(now int64) float64 {
	return e.load.share(now, e.ward.slowStart.Load())
}

// share is [Endpoint.Share] with the duration of slow start in nanoseconds.
func (l *load) share(now, slowStart int64) float64 {
	left := l.ramped.Load() - now
	if left <= 0 || slowStart <= 0 {
		return 1
	}
	return max(RampFloor, 1-(1-RampFloor)*float64(left)/float64(slowStart))
}

// reclassify updates special from the times it depends on. The caller holds the
// ward's lock.
func (l *load) reclassify() {
	l.special.Store(max(l.barred.Load(), l.ejected.Load(), l.ramped.Load()))
}

// never is later than any time.
const never = math.MaxInt64
