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

// Outcome is how a call ended.
type Outcome uint8

const (
	// Answered is a reply.
	Answered Outcome = iota
	// Erred is an error that the handler meant to return. The instance is as healthy as
	// any, but what the call took is not counted in its favor: errors come fast.
	Erred
	// Faulted is an answer that says that the instance is to blame: it refused the call,
	// or its handler broke.
	Faulted
	// Unanswered means that no answer came: the connection was lost, or the time was up.
	Unanswered
)

// Begin counts a call that is sent at now. Exactly one End or Abandon follows.
func (e *Endpoint[T]) Begin(now int64) { e.load.begin(now) }

// Hold counts something in flight to which no answer is expected: a stream. Exactly
// one Release follows.
func (e *Endpoint[T]) Hold() {
	e.load.held.Add(1)
	e.load.inflight.Add(1)
}

// Release counts out what Hold has counted.
func (e *Endpoint[T]) Release() {
	e.load.inflight.Add(-1)
	e.load.held.Add(-1)
}

// End counts the call out and its time, now − start in nanoseconds, into the
// latency. Enough calls in a row that faulted or had no answer eject the instance. An
// answer to a call that began after that ends the ejection, and what was measured
// before it is forgotten.
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

// Heard notes that there is a new connection to the instance: it is no longer silent, and
// if it is ejected, the next call that draws it is a probe.
func (e *Endpoint[T]) Heard(now int64) { e.load.heard(now) }

// Answers notes that the instance has given the sign of life that [Tried.Due] asks for. It is no
// longer silent, unless calls still wait for it. If it is ejected because it did not answer, and there is a
// new connection since, it no longer is: its process is another one, or can be reached again. A process
// that takes packets may still have handlers that do not answer.
func (e *Endpoint[T]) Answers(now int64) {
	if l := e.load; l.pardons(now) && e.ward.restore(l, now) {
		l.counted.Store(0)
	}
}

// Silence is how long the instance has owed an answer as of now: since the first call
// that began after its last answer. It is 0 if it owes none.
func (e *Endpoint[T]) Silence(now int64) time.Duration { return time.Duration(e.load.silence(now)) }

// Abandon counts the call out without a sample: the caller gave up, or the call
// never left, so that its time says nothing about the instance.
func (e *Endpoint[T]) Abandon() { e.load.abandon() }

// InFlight is the number of calls and streams in flight.
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
