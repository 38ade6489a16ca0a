//go:build !race

package balance

import (
	"math/rand/v2"
	"testing"
	"time"
)

// The tests of this file do not run under the race detector: each has one goroutine, and costs ten times as much
// there. The detector sees picks beside updates in race_test.go.

// callers is a closed loop in virtual time: each of n callers pauses after its call has
// ended, and calls again.
type callers struct {
	*simulation

	n     int
	pause time.Duration
}

// callersOf returns n callers that wait for an answer for a second, and pause for 1 ms.
func callersOf(s *simulation, n int) *callers {
	s.patience = time.Second
	return &callers{simulation: s, n: n, pause: time.Millisecond}
}

// call runs the callers for d, and counts the calls that fail. The last calls may end
// later.
func (c *callers) call(d time.Duration) {
	c.failed = 0
	end := c.now + int64(d)
	for range c.n {
		c.pending.push(completion{at: c.now + rand.Int64N(int64(c.pause))})
	}
	for len(c.pending) > 0 {
		next := c.pending.pop()
		c.now = next.at
		if next.endpoint == nil {
			c.send()
			continue
		}
		c.end(next)
		if again := c.now + int64(c.pause); again < end {
			c.pending.push(completion{at: again})
		}
	}
	c.now = end
}

// freeze has a server answer nothing for d.
func (s *simulation) freeze(v *server, d time.Duration) { v.stalls = s.now + int64(d) }

// probesIn returns how many probes a silent instance gets in d at most: after ProbeAfter,
// after twice as long, and so on, and then every ProbeMost.
func probesIn(d time.Duration) int {
	n := 0
	for out := ProbeAfter; out <= d; out += min(out, ProbeMost) {
		n++
	}
	return n
}

// TestASilentInstanceYieldsToAYoungOne has the older of two instances freeze, mostly while
// the other is in slow start. It expects the silent one to get, besides probes, only the
// calls that are sent before the silence shows.
func TestASilentInstanceYieldsToAYoungOne(t *testing.T) {
	const rate = 200
	for _, age := range []time.Duration{time.Millisecond, 2 * time.Second, 8 * time.Second, 20 * time.Second, 40 * time.Second} {
		old := &server{latency: time.Millisecond}
		s := simulateWith(Options{}, old)
		s.patience = 2 * time.Second
		s.run(time.Minute, rate)
		young := s.join("young", time.Millisecond)
		s.run(age, rate)
		s.freeze(old, time.Hour)
		s.forget()
		s.run(5*time.Second, rate)
		most := int(rate*SilenceFloor/time.Second) + 1 + 2*probesIn(5*time.Second)
		if old.calls > most {
			t.Errorf("the other %v old: of %d calls in the 5 s after the freeze %d went to the silent one, want at most %d", age, old.calls+young.calls, old.calls, most)
		}
	}
}

// TestCallersOfASilentInstanceLoseOneCallEach has callers that wait for each answer.
func TestCallersOfASilentInstanceLoseOneCallEach(t *testing.T) {
	for _, n := range []int{1, 8, 100} {
		all := servers(3, time.Millisecond)
		c := callersOf(simulateWith(Options{Outlier: Outlier{Errors: -1}}, all...), n)
		c.call(time.Second)
		c.freeze(all[0], time.Hour)
		c.call(5 * time.Second)
		if most := (n+2)/3*2 + probesIn(5*time.Second) + 1; c.failed > most {
			t.Errorf("%d callers of three instances: %d calls failed in the 5 s after one froze, want at most %d", n, c.failed, most)
		}
	}
}

// TestAnEjectedInstanceYieldsToOneThatIsSilent checks that an instance that was ejected a
// while ago is preferred to one that does not answer now.
func TestAnEjectedInstanceYieldsToOneThatIsSilent(t *testing.T) {
	for _, key := range []Key{{}, {Hash: 1, Set: true}} {
		s, g := fresh(GroupOptions{}, 2)
		all := endpoints(t, s, 2)
		settle(all[1], ms)
		now := second
		fail(all[0], DefaultErrors, now)
		if _, ok := all[0].Ejected(now); !ok {
			t.Fatal("it is not ejected")
		}
		for range 3 {
			all[1].Begin(now)
		}
		now += int64(SilenceKeyed)
		// The first two picks are the probes of both instances.
		for range all {
			if _, ok := g.Pick(now, nil, key); !ok {
				t.Fatal("nothing picked")
			}
		}
		for range 100 {
			if e, ok := g.Pick(now, nil, key); !ok || e != all[0] {
				t.Fatalf("key %v: picked the silent one", key.Set)
			}
		}
		all[1].End(now-ms, now, Answered)
		for range 100 {
			if e, ok := g.Pick(now, nil, key); !ok || e != all[1] {
				t.Fatalf("key %v: picked the ejected one though the other answers", key.Set)
			}
		}
	}
}

// TestAnEjectedInstanceIsProbed checks that an ejected instance that has recovered has its
// share again before its ejection would have ended, and that one that stays broken costs
// only a few probes.
func TestAnEjectedInstanceIsProbed(t *testing.T) {
	for _, policy := range []Policy{P2C, RoundRobin} {
		for _, out := range []time.Duration{time.Second, 5 * time.Second, 25 * time.Second} {
			all := servers(2, time.Millisecond)
			s := simulateWith(Options{}, all...)
			s.group = s.set.Group(nil, GroupOptions{Policy: policy}, 0)
			c := callersOf(s, 8)
			c.call(5 * time.Second)
			broken := all[0]
			broken.fails = true
			c.call(out)
			if most := DefaultErrors + 2*c.n + ProbesEjected + 3; c.failed < DefaultErrors || c.failed > most {
				t.Errorf("broken for %v: %d calls failed, want %d to %d", out, c.failed, DefaultErrors, most)
			}
			broken.fails = false
			c.call(4 * time.Second)
			if c.failed > 0 {
				t.Errorf("broken for %v: %d calls fail after it", out, c.failed)
			}
			c.forget()
			c.call(time.Second)
			if fair := total(all) / 2; broken.calls < fair*3/4 {
				t.Errorf("%v broken for %v: well for 4 s it has %d calls, fair share is %d", policy, out, broken.calls, fair)
			}
		}
	}
}

// TestAProbeIsOneCall checks that only one of many simultaneous calls is the probe.
func TestAProbeIsOneCall(t *testing.T) {
	s, g := fresh(GroupOptions{}, 2)
	e := endpoints(t, s, 2)[0]
	fail(e, DefaultErrors, 0)
	probed := 0
	for now := int64(0); now < 30*second; now += 10 * ms {
		probed += counts(t, g, now, nil, 2, 20)[0]
	}
	if want := ProbesEjected + 1; probed < want || probed > want+2 {
		t.Errorf("in an ejection there are %d probes, want about %d", probed, want)
	}
}

// TestACallThatWasSentIsNoProbe checks that a retry goes to an instance that is not ejected.
func TestACallThatWasSentIsNoProbe(t *testing.T) {
	s, g := fresh(GroupOptions{}, 3)
	all := endpoints(t, s, 3)
	fail(all[0], DefaultErrors, 0)
	var tried Tried[int]
	tried.Add(all[1])
	for range 100 {
		if e, ok := g.Pick(29*second, &tried, Key{}); !ok || e != all[2] {
			t.Fatal("a second attempt was made the probe")
		}
	}
}

// TestASilentInstanceComesBack checks that an instance has its share again within 5 s after
// a pause that callers noticed.
func TestASilentInstanceComesBack(t *testing.T) {
	for _, pause := range []time.Duration{100 * time.Millisecond, 900 * time.Millisecond, 3 * time.Second} {
		for _, n := range []int{1, 8} {
			all := servers(2, time.Millisecond)
			c := callersOf(simulateWith(Options{}, all...), n)
			c.call(5 * time.Second)
			c.freeze(all[0], pause)
			c.call(pause + 5*time.Second)
			c.forget()
			c.call(time.Second)
			if fair := total(all) / 2; all[0].calls < fair*3/4 || c.failed > 0 {
				t.Errorf("%d callers, 5 s after a pause of %v: it has %d calls, fair share is %d; %d failed", n, pause, all[0].calls, fair, c.failed)
			}
		}
	}
}

// TestOneSlowCallIsNoSilence checks that an instance does not count as silent while one
// call takes long and others are answered.
func TestOneSlowCallIsNoSilence(t *testing.T) {
	all := servers(2, time.Millisecond)
	c := callersOf(simulateWith(Options{}, all...), 1)
	c.call(5 * time.Second)
	for e := range c.group.Members() {
		if e.Value() == all[0] {
			e.Begin(c.now)
			defer e.Abandon()
		}
	}
	c.call(time.Second)
	c.forget()
	c.pause = 200 * time.Millisecond
	c.call(time.Minute)
	// Between two calls that begin 200 ms apart the instance owes no answer. The long call
	// still counts as in flight.
	for e := range c.group.Members() {
		if e.Value() == all[0] && e.load.silent(c.now, SilenceFloor) {
			t.Errorf("an instance that answered since counts as silent for %v", e.Silence(c.now))
		}
	}
}

func TestSilence(t *testing.T) {
	tests := []struct {
		name string
		do   func(e *Endpoint[int])
		at   int64 // in milliseconds
		want time.Duration
	}{
		{"no call", func(*Endpoint[int]) {}, 1000, 0},
		{"a call without an answer yet", func(e *Endpoint[int]) { e.Begin(100 * ms) }, 300, 200 * time.Millisecond},
		{"two of them", func(e *Endpoint[int]) {
			e.Begin(100 * ms)
			e.Begin(200 * ms)
		}, 300, 200 * time.Millisecond},
		{"an answer", func(e *Endpoint[int]) {
			e.Begin(100 * ms)
			e.Begin(150 * ms)
			e.End(100*ms, 200*ms, Answered)
		}, 300, 0},
		{"a call after it", func(e *Endpoint[int]) {
			e.Begin(100 * ms)
			e.Begin(150 * ms)
			e.End(150*ms, 200*ms, Erred)
			e.Begin(250 * ms)
		}, 300, 50 * time.Millisecond},
		{"an answer that says who is to blame", func(e *Endpoint[int]) {
			e.Begin(100 * ms)
			e.Begin(150 * ms)
			e.End(150*ms, 200*ms, Faulted)
		}, 300, 0},
		{"a call that was given up", func(e *Endpoint[int]) {
			e.Begin(100 * ms)
			e.Abandon()
		}, 300, 0},
		{"and one after it", func(e *Endpoint[int]) {
			e.Begin(100 * ms)
			e.Abandon()
			e.Begin(250 * ms)
		}, 300, 50 * time.Millisecond},
		{"no answer in time", func(e *Endpoint[int]) {
			e.Begin(100 * ms)
			e.End(100*ms, 200*ms, Unanswered)
		}, 300, 200 * time.Millisecond},
		{"nor to the call after it", func(e *Endpoint[int]) {
			e.Begin(100 * ms)
			e.End(100*ms, 200*ms, Unanswered)
			e.Begin(250 * ms)
		}, 300, 200 * time.Millisecond},
		{"an answer to that", func(e *Endpoint[int]) {
			e.Begin(100 * ms)
			e.End(100*ms, 200*ms, Unanswered)
			e.Begin(250 * ms)
			e.End(250*ms, 260*ms, Answered)
		}, 300, 0},
		{"a fault in answer to that", func(e *Endpoint[int]) {
			e.Begin(100 * ms)
			e.End(100*ms, 200*ms, Unanswered)
			e.Begin(250 * ms)
			e.End(250*ms, 260*ms, Faulted)
		}, 300, 0},
		{"no answer to a call before one that was answered", func(e *Endpoint[int]) {
			e.Begin(100 * ms)
			e.Begin(110 * ms)
			e.End(110*ms, 120*ms, Answered)
			e.End(100*ms, 200*ms, Unanswered)
		}, 300, 0},
		{"a new connection", func(e *Endpoint[int]) {
			e.Begin(100 * ms)
			e.End(100*ms, 200*ms, Unanswered)
			e.Heard(250 * ms)
		}, 300, 0},
		{"a stream", func(e *Endpoint[int]) { e.Hold() }, 300, 0},
		{"a stream, and a call that was answered at once", func(e *Endpoint[int]) {
			e.Hold()
			e.Begin(100 * ms)
			e.End(100*ms, 100*ms+ms/3, Answered)
		}, 300, 0},
		{"a stream that ended, and a call", func(e *Endpoint[int]) {
			e.Hold()
			e.Release()
			e.Begin(100 * ms)
		}, 300, 200 * time.Millisecond},
		{"a long call, and one that was answered at once", func(e *Endpoint[int]) {
			e.Begin(100 * ms)
			e.Begin(110 * ms)
			e.End(110*ms, 120*ms, Answered)
			e.Begin(130 * ms)
			e.End(130*ms, 130*ms+ms/3, Answered)
		}, 300, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := alone()
			tt.do(e)
			if got := e.Silence(tt.at * ms); got != tt.want {
				t.Errorf("Silence = %v, want %v", got, tt.want)
			}
		})
	}
}

// TestANewConnectionIsProbedAtOnce checks that an ejected instance, whose process was killed
// for example, is probed as soon as it is connected again.
func TestANewConnectionIsProbedAtOnce(t *testing.T) {
	s, g := fresh(GroupOptions{}, 2)
	all := endpoints(t, s, 2)
	fail(all[0], DefaultErrors, second)
	all[0].Heard(second)
	got := counts(t, g, second, nil, 2, 100)
	if got[0] != 1 {
		t.Fatalf("it has %d of 100 calls, want one, which is its probe", got[0])
	}
	all[0].Begin(second)
	all[0].End(second, second+ms, Answered)
	if until, ok := all[0].Ejected(second + ms); ok {
		t.Fatalf("its probe was answered, and it is ejected until %v", time.Duration(until))
	}
	if got := counts(t, g, second+ms, nil, 2, 1000); got[0] < 400 {
		t.Fatalf("its probe was answered, and it has %d of 1000 calls", got[0])
	}
	if a, n := g.Health(second + ms); a != 2 || n != 2 {
		t.Fatalf("Health = %d of %d, want 2 of 2", a, n)
	}
}

// TestACallFromBeforeDoesNotEndAnEjection checks that the answer to a call that began before
// an ejection does not end it.
func TestACallFromBeforeDoesNotEndAnEjection(t *testing.T) {
	s, _ := fresh(GroupOptions{}, 2)
	e := endpoints(t, s, 2)[0]
	e.Begin(second - ms)
	fail(e, DefaultErrors, second)
	e.End(second-ms, second+ms, Answered)
	if _, ok := e.Ejected(second + ms); !ok {
		t.Fatal("an answer to a call that began before the ejection ended it")
	}
}

func TestErrorsThatAHandlerMeansAreHealth(t *testing.T) {
	e := alone()
	for i := range int64(100) {
		e.Begin(i * 10 * ms)
		e.End(i*10*ms, i*10*ms+ms, Erred)
	}
	if _, ok := e.Ejected(second); ok {
		t.Error("they ejected the instance")
	}
	settle(e, 20*ms)
	before := e.Latency(90 * ms)
	for i := range int64(100) {
		now := 90*ms + i*10*ms
		e.Begin(now)
		e.End(now, now+ms/10, Erred)
	}
	if got := e.Latency(90*ms + second); got < before {
		t.Errorf("errors that come fast made the latency %v, it was %v", got, before)
	}
}

// TestACarefulCallIsNoProbe checks that a careful call passes over the instance whose probe is due, and names it.
func TestACarefulCallIsNoProbe(t *testing.T) {
	for name, key := range map[string]Key{"by load": {}, "by key": {Hash: 7, Set: true}} {
		t.Run(name, func(t *testing.T) {
			s, g := fresh(GroupOptions{}, 2)
			all := endpoints(t, s, 2)
			home, _ := g.Pick(0, nil, key)
			other := all[1-home.Value()]
			home.Begin(second)
			home.End(second, 2*second, Unanswered)
			now := 2*second + int64(SilenceKeyed)
			var tried Tried[int]
			tried.Careful()
			asked := 0
			for range 100 {
				if e, ok := g.Pick(now, &tried, key); !ok || e != other {
					t.Fatalf("picked %v, %t; want the one that answers", e, ok)
				}
				if due := tried.Due(); due != nil {
					if asked++; due != home {
						t.Errorf("the probe that is due is of %s", due.Key())
					}
				}
				tried.Reset()
			}
			if asked != 1 {
				t.Errorf("100 picks in one moment asked for %d signs of life, want 1", asked)
			}
			home.Answers(now)
			if d := home.Silence(now); d != 0 {
				t.Errorf("it has given a sign of life, and is silent since %v", d)
			}
		})
	}
}

// TestASignOfLifeEndsWhatSilenceBegan checks that it ends neither other ejections nor the wait of calls.
func TestASignOfLifeEndsWhatSilenceBegan(t *testing.T) {
	for name, tt := range map[string]struct {
		how       Outcome
		connected bool // since the ejection
		ends      bool
	}{
		"no answers, a new connection":   {Unanswered, true, true},
		"no answers, the old one":        {Unanswered, false, false},
		"faults, and a new connection":   {Faulted, true, false},
		"faults, and the old connection": {Faulted, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := fresh(GroupOptions{}, 2)
			e := endpoints(t, s, 2)[0]
			for range DefaultErrors {
				e.Begin(second)
				e.End(second, second+ms, tt.how)
			}
			if tt.connected {
				e.Heard(2 * second)
			}
			e.Answers(3 * second)
			if _, out := e.Ejected(3 * second); out == tt.ends {
				t.Errorf("ejected after a sign of life: %t", out)
			}
		})
	}
	t.Run("while calls wait", func(t *testing.T) {
		e := alone()
		e.Begin(second)
		e.Answers(2 * second)
		if e.Silence(3*second) == 0 {
			t.Error("a call waits still, and it counts as one that answers")
		}
	})
}
