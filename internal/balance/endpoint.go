package balance

import "time"

// Endpoint is one instance as a snapshot sees it: an immutable key, value and
// weight over load state that lives as long as the instance is known. When an
// instance's value or weight changes, its new Endpoint shares the old one's load.
type Endpoint[T any] struct {
	load   *load
	key    string
	value  T
	weight uint32
}

// NewEndpoint returns an endpoint that was never called. The key identifies the
// instance. A weight of 2 takes twice the calls of a weight of 1 at equal
// latency; 0 means 1.
func NewEndpoint[T any](key string, value T, weight uint32) *Endpoint[T] {
	return &Endpoint[T]{load: new(load), key: key, value: value, weight: max(weight, 1)}
}

// with returns an endpoint of the same instance with the same load.
func (e *Endpoint[T]) with(value T, weight uint32) *Endpoint[T] {
	return &Endpoint[T]{load: e.load, key: e.key, value: value, weight: max(weight, 1)}
}

// Key identifies the instance.
func (e *Endpoint[T]) Key() string { return e.key }

// Value is what the owner hung on the instance.
func (e *Endpoint[T]) Value() T { return e.value }

// Weight is the weight, at least 1.
func (e *Endpoint[T]) Weight() uint32 { return e.weight }

// Begin counts a call in flight. Exactly one End or Abandon follows.
func (e *Endpoint[T]) Begin() { e.load.begin() }

// End counts the call out and its time, now − start in nanoseconds, into the
// latency. Failed says that the instance is to blame: it could not be reached,
// was overloaded, broke, or missed the deadline. An error the handler meant to
// return is a success here.
func (e *Endpoint[T]) End(start, now int64, failed bool) { e.load.end(now-start, now, failed) }

// Abandon counts the call out without a sample: the caller gave up, or the call
// never left, so that its time says nothing about the instance.
func (e *Endpoint[T]) Abandon() { e.load.abandon() }

// InFlight is the number of calls in flight.
func (e *Endpoint[T]) InFlight() int64 { return e.load.inflight.Load() }

// Latency is the average latency as of now, 0 if there was no call yet.
func (e *Endpoint[T]) Latency(now int64) time.Duration { return e.load.latencyAt(now) }
