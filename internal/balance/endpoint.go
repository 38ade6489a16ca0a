package balance

import (
	"math"
	"time"
)

// Endpoint is one instance as a snapshot sees it: an immutable key, value, weight
// and zone over state that lives as long as the instance is known. When one of
// them changes, the instance's new Endpoint shares the state of the old one.
type Endpoint[T any] struct {
	load   *load
	ward   *ward
	key    string
	zone   string
	value  T
	weight uint32
}

// Key identifies the instance.
func (e *Endpoint[T]) Key() string { return e.key }

// Value is what the owner hung on the instance.
func (e *Endpoint[T]) Value() T { return e.value }

// Weight is the weight, at least 1.
func (e *Endpoint[T]) Weight() uint32 { return e.weight }

// Zone is where the instance runs, "" if that is not known.
func (e *Endpoint[T]) Zone() string { return e.zone }

// Begin counts a call in flight. Exactly one End or Abandon follows.
func (e *Endpoint[T]) Begin() { e.load.begin() }

// End counts the call out and its time, now − start in nanoseconds, into the
// latency. Failed says that the instance is to blame: it could not be reached,
// was overloaded, broke, or missed the deadline; enough of those in a row eject
// it. An error the handler meant to return is a success here.
func (e *Endpoint[T]) End(start, now int64, failed bool) {
	e.load.abandon()
	e.load.sample(now-start, now, failed)
	if failed {
		e.ward.failed(e.load, now)
	} else if f := e.load.failures.Load(); f&^gone != 0 {
		e.load.failures.And(gone)
	}
}

// Abandon counts the call out without a sample: the caller gave up, or the call
// never left, so that its time says nothing about the instance.
func (e *Endpoint[T]) Abandon() { e.load.abandon() }

// InFlight is the number of calls in flight.
func (e *Endpoint[T]) InFlight() int64 { return e.load.inflight.Load() }

// Latency is the average latency as of now, 0 if there was no call yet.
func (e *Endpoint[T]) Latency(now int64) time.Duration { return e.load.latencyAt(now) }

// Bar keeps the instance from being picked until then, even in panic: it
// presented a wrong identity, it drains, or it is not to be dialed yet. A bar is
// never shortened by another; see [Endpoint.Unbar]. An instance that left its set
// is barred for good. Unlike the methods above Bar takes the lock of the set.
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

// Share is what slow start leaves at now of the instance's share, above 0 and at
// most 1.
func (e *Endpoint[T]) Share(now int64) float64 {
	return e.load.share(now, e.ward.slowStart.Load())
}

// share is [Endpoint.Share], with the time the whole takes.
func (l *load) share(now, slowStart int64) float64 {
	left := l.ramped.Load() - now
	if left <= 0 || slowStart <= 0 {
		return 1
	}
	return max(RampFloor, 1-(1-RampFloor)*float64(left)/float64(slowStart))
}

// reclassify restores what special promises. The caller holds the ward's lock.
func (l *load) reclassify() {
	l.special.Store(max(l.barred.Load(), l.ejected.Load(), l.ramped.Load()))
}

// never is a time that does not come.
const never = math.MaxInt64
