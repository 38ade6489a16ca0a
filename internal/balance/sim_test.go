//go:build !race

package balance

import (
	"math/rand/v2"
	"testing"
	"time"
)

// The tests of this file do not run under the race detector: each has one goroutine, and costs ten times as much
// there. The detector sees picks beside updates in race_test.go.

// server is a simulated instance.
type server struct {
	latency time.Duration
	fails   bool
	calls   int
	// stalls is until when the server answers nothing.
	stalls int64
	// tail is the fraction of calls that take 50 times as long.
	tail float64
	// cold is how many calls take three times as long after a second without a call.
	cold int
	// asked is when the last call came.
	asked int64
	// chilled is how many cold calls are still to come.
	chilled int
}

func (v *server) answers(now int64) time.Duration {
	if now-v.asked > int64(time.Second) {
		v.chilled = v.cold
	}
	v.asked = now
	if v.chilled > 0 {
		v.chilled--
		return 3 * v.latency
	}
	if v.tail > 0 && rand.Float64() < v.tail {
		return 50 * v.latency
	}
	return v.latency + time.Duration(max(0, v.stalls-now))
}

// completion is the end of a call or, without an endpoint, of a caller's pause.
type completion struct {
	at, start int64
	endpoint  *Endpoint[*server]
	outcome   Outcome
}

// completions is a binary heap, the earliest first.
type completions []completion

func (c *completions) push(x completion) {
	h := append(*c, x)
	for i := len(h) - 1; i > 0 && h[i].at < h[(i-1)/2].at; i = (i - 1) / 2 {
		h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
	}
	*c = h
}

func (c *completions) pop() completion {
	h := *c
	out, last := h[0], len(h)-1
	h[0], h = h[last], h[:last]
	for i := 0; 2*i+1 < last; {
		child := 2*i + 1
		if child+1 < last && h[child+1].at < h[child].at {
			child++
		}
		if h[i].at <= h[child].at {
			break
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
	*c = h
	return out
}

// simulation sends calls at a fixed rate in virtual time.
type simulation struct {
	set     Set[*server]
	group   *Group[*server]
	now     int64
	pending completions

	// patience is how long a call waits for an answer. 0 means without a bound.
	patience time.Duration
	// failed counts the calls that failed.
	failed int
}

// simulate returns a simulation of servers that are there from the beginning, without
// slow start and ejection, so that latency alone decides.
func simulate(servers ...*server) *simulation {
	return simulateWith(Options{SlowStart: -1, Outlier: Outlier{Errors: -1}}, servers...)
}

func simulateWith(o Options, servers ...*server) *simulation {
	s := new(simulation)
	s.set.Configure(o, 0)
	s.group = s.set.Group(nil, GroupOptions{}, 0)
	put := make([]Item[*server], len(servers))
	for i, v := range servers {
		put[i] = Item[*server]{Key: string(rune('a' + i)), Value: v}
	}
	s.set.Update(put, nil, 0)
	return s
}

// run sends rate calls a second for d.
func (s *simulation) run(d time.Duration, rate int) {
	every := int64(time.Second) / int64(rate)
	for end := s.now + int64(d); s.now < end; s.now += every {
		for len(s.pending) > 0 && s.pending[0].at <= s.now {
			s.complete()
		}
		s.send()
	}
}

func (s *simulation) send() {
	e, _ := s.group.Pick(s.now, nil, Key{})
	e.Begin(s.now)
	e.Value().calls++
	c := completion{start: s.now, endpoint: e, outcome: outcome(e.Value().fails)}
	takes := e.Value().answers(s.now)
	if s.patience > 0 && takes >= s.patience {
		takes, c.outcome = s.patience, Unanswered
	}
	c.at = s.now + int64(takes)
	s.pending.push(c)
}

func (s *simulation) complete() { s.end(s.pending.pop()) }

func (s *simulation) end(c completion) {
	if c.outcome != Answered {
		s.failed++
	}
	c.endpoint.End(c.start, c.at, c.outcome)
}

// join adds an instance and zeroes the counts of calls.
func (s *simulation) join(key string, latency time.Duration) *server {
	s.forget()
	v := &server{latency: latency}
	s.set.Update([]Item[*server]{{Key: key, Value: v}}, nil, s.now)
	return v
}

// forget zeroes the counts of calls.
func (s *simulation) forget() {
	for e := range s.group.Members() {
		e.Value().calls = 0
	}
}

func servers(n int, latency time.Duration) []*server {
	out := make([]*server, n)
	for i := range out {
		out[i] = &server{latency: latency}
	}
	return out
}

func total(servers []*server) (n int) {
	for _, s := range servers {
		n += s.calls
	}
	return n
}

func TestASlowInstanceGetsLess(t *testing.T) {
	all := servers(10, time.Millisecond)
	all[0].latency = 5 * time.Millisecond
	s := simulate(all...)
	s.run(5*time.Second, 5000)
	s.forget()
	s.run(20*time.Second, 5000)
	fair := total(all) / len(all)
	if got := all[0].calls; got == 0 || got > fair/2 {
		t.Fatalf("an instance five times slower got %d calls, want some but at most half of the fair share %d", got, fair)
	}
}

func TestAFastFailingInstanceGetsLessThanATwentiethOfItsShare(t *testing.T) {
	for _, rate := range []int{100, 1000, 20000} {
		all := servers(10, 2*time.Millisecond)
		all[0].latency, all[0].fails = 100*time.Microsecond, true
		s := simulate(all...)
		s.run(3*time.Second, rate)
		s.forget()
		s.run(20*time.Second, rate)
		if got, fair := all[0].calls, total(all)/len(all); got >= fair/20 {
			t.Errorf("at %d calls/s the failing instance got %d calls, fair share is %d", rate, got, fair)
		}
	}
}

func TestAnInstanceThatStartsFailingIsAvoidedAndComesBack(t *testing.T) {
	all := servers(5, 2*time.Millisecond)
	s := simulate(all...)
	const rate = 2000
	s.run(5*time.Second, rate)
	all[0].latency, all[0].fails = 100*time.Microsecond, true
	s.run(time.Second, rate)
	s.forget()
	s.run(10*time.Second, rate)
	if got, fair := all[0].calls, total(all)/len(all); got >= fair/20 {
		t.Fatalf("while failing it got %d calls, fair share is %d", got, fair)
	}
	all[0].latency, all[0].fails = 2*time.Millisecond, false
	s.run(30*time.Second, rate)
	s.forget()
	s.run(10*time.Second, rate)
	if got, fair := all[0].calls, total(all)/len(all); got < fair/2 {
		t.Fatalf("30 s after its recovery it got %d calls, fair share is %d", got, fair)
	}
}

func TestANewInstanceGetsItsShareAtOnce(t *testing.T) {
	all := servers(5, 200*time.Microsecond)
	s := simulate(all...)
	const rate = 20000
	s.run(5*time.Second, rate)
	joined := s.join("joined", 200*time.Microsecond)
	s.run(100*time.Millisecond, rate)
	if fair := (total(all) + joined.calls) / 6; joined.calls < fair/2 || joined.calls > fair*2 {
		t.Fatalf("in its first 100 ms the new instance got %d calls, fair share is %d", joined.calls, fair)
	}
}

func TestANewInstanceThatStartsSlowlyIsSoonTrusted(t *testing.T) {
	all := servers(5, 200*time.Microsecond)
	s := simulate(all...)
	const rate = 2000
	s.run(5*time.Second, rate)
	joined := s.join("joined", 50*time.Millisecond)
	s.run(50*time.Millisecond, rate)
	joined.latency = 200 * time.Microsecond
	s.run(20*time.Second, rate)
	s.forget()
	s.run(10*time.Second, rate)
	if fair := (total(all) + joined.calls) / 6; joined.calls < fair/2 || joined.calls > fair*2 {
		t.Fatalf("20 s after its slow start it got %d calls, fair share is %d", joined.calls, fair)
	}
}

func TestLikeLatenciesShareEvenly(t *testing.T) {
	all := servers(4, time.Millisecond)
	all[0].latency, all[1].latency = 900*time.Microsecond, 1100*time.Microsecond
	s := simulate(all...)
	// At this rate at most one call is in flight.
	s.run(10*time.Second, 100)
	for i, server := range all {
		if fair := total(all) / len(all); server.calls < fair*3/4 || server.calls > fair*5/4 {
			t.Errorf("instance %d got %d calls, fair share is %d", i, server.calls, fair)
		}
	}
}

// TestAHiccupIsForgiven checks that a short pause, in which an instance answers
// nothing and which affects a tiny part of its calls, hardly reduces its share
// afterwards. With Finagle's rule, under which one slow sample is the new average,
// it loses two thirds of its calls in the next 20 s.
func TestAHiccupIsForgiven(t *testing.T) {
	for _, rate := range []int{2000, 10000} {
		all := servers(5, time.Millisecond)
		s := simulate(all...)
		s.run(5*time.Second, rate)
		all[0].stalls = s.now + int64(50*time.Millisecond)
		s.run(100*time.Millisecond, rate)
		s.forget()
		s.run(5*time.Second, rate)
		if got, fair := all[0].calls, total(all)/len(all); got < fair*3/4 {
			t.Errorf("at %d calls/s it got %d calls in the 5 s after its pause, fair share is %d", rate, got, fair)
		}
	}
}

// TestAnInstanceThatTurnsSlowIsSoonAvoided checks that an instance that turns slow
// gets at most a tenth of its share in the first second. If the average rose as
// slowly as it falls, the instance would get half of its share.
func TestAnInstanceThatTurnsSlowIsSoonAvoided(t *testing.T) {
	all := servers(5, time.Millisecond)
	s := simulate(all...)
	s.run(5*time.Second, 2000)
	all[0].latency = 5 * time.Millisecond
	s.forget()
	s.run(time.Second, 2000)
	if got, fair := all[0].calls, total(all)/len(all); got > fair/10 {
		t.Fatalf("in the second in which it turned five times slower it got %d calls, fair share is %d", got, fair)
	}
}

// TestLongTailsDoNotStirTheShares checks that all instances keep their shares if one
// call in a hundred is slow on every instance.
func TestLongTailsDoNotStirTheShares(t *testing.T) {
	all := servers(5, time.Millisecond)
	for _, v := range all {
		v.tail = 0.01
	}
	s := simulate(all...)
	s.run(5*time.Second, 20000)
	s.forget()
	s.run(20*time.Second, 20000)
	for i, v := range all {
		if fair := total(all) / len(all); v.calls < fair/2 {
			t.Errorf("instance %d got %d calls, fair share is %d", i, v.calls, fair)
		}
	}
}
