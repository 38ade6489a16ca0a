package balance

import (
	"math"
	"testing"
	"time"
	"unsafe"
)

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
	fresh := s.join("fresh", 200*time.Microsecond)
	s.run(100*time.Millisecond, rate)
	if fair := (total(all) + fresh.calls) / 6; fresh.calls < fair/2 || fresh.calls > fair*2 {
		t.Fatalf("in its first 100 ms the new instance got %d calls, fair share is %d", fresh.calls, fair)
	}
}

func TestANewInstanceThatStartsSlowlyIsSoonTrusted(t *testing.T) {
	all := servers(5, 200*time.Microsecond)
	s := simulate(all...)
	const rate = 2000
	s.run(5*time.Second, rate)
	fresh := s.join("fresh", 50*time.Millisecond)
	s.run(50*time.Millisecond, rate)
	fresh.latency = 200 * time.Microsecond
	s.run(20*time.Second, rate)
	s.forget()
	s.run(10*time.Second, rate)
	if fair := (total(all) + fresh.calls) / 6; fresh.calls < fair/2 || fresh.calls > fair*2 {
		t.Fatalf("20 s after its slow start it got %d calls, fair share is %d", fresh.calls, fair)
	}
}

// TestAHiccupWhileWarmingLeavesNothing: whichever of its first calls is slow, an
// instance is afterwards as good as another.
func TestAHiccupWhileWarmingLeavesNothing(t *testing.T) {
	const ms = int64(time.Millisecond)
	for slow := range int64(WarmSamples) {
		e := NewEndpoint("k", 0, 1)
		for i := range int64(WarmSamples) {
			elapsed := ms / 10
			if i == slow {
				elapsed = 30 * ms
			}
			end(e, (i+1)*100*ms, elapsed, false)
		}
		if got := e.Latency(WarmSamples * 100 * ms); got != 100*time.Microsecond {
			t.Errorf("call %d was slow: Latency = %v, want 100µs", slow+1, got)
		}
	}
}

func TestLikeLatenciesShareEvenly(t *testing.T) {
	all := servers(4, time.Millisecond)
	all[0].latency, all[1].latency = 900*time.Microsecond, 1100*time.Microsecond
	s := simulate(all...)
	s.run(10*time.Second, 100) // one call in flight at most
	for i, server := range all {
		if fair := total(all) / len(all); server.calls < fair*3/4 || server.calls > fair*5/4 {
			t.Errorf("instance %d got %d calls, fair share is %d", i, server.calls, fair)
		}
	}
}

func TestLatencyAverage(t *testing.T) {
	const ms = int64(time.Millisecond)
	tests := []struct {
		name string
		do   func(e *Endpoint[int])
		at   int64
		want time.Duration
	}{
		{"no call", func(*Endpoint[int]) {}, 0, 0},
		{"the first sample is the average", func(e *Endpoint[int]) { end(e, 10*ms, 5*ms, false) }, 10 * ms, 5 * time.Millisecond},
		{"while warming, the least counts", func(e *Endpoint[int]) {
			end(e, 10*ms, 5*ms, false)
			end(e, 20*ms, 1*ms, false)
			end(e, 60*ms, 30*ms, false)
		}, 60 * ms, time.Millisecond},
		{"while warming, a failure weighs half", func(e *Endpoint[int]) {
			end(e, 10*ms, 4*ms, false)
			end(e, 20*ms, 1*ms, true)
		}, 20 * ms, 502 * time.Millisecond},
		{"a sample within the resolution is left out", func(e *Endpoint[int]) {
			end(e, 10*ms, 5*ms, false)
			end(e, 10*ms+1, 1*ms, false)
		}, 10 * ms, 5 * time.Millisecond},
		{"a fast failure counts a second", func(e *Endpoint[int]) { end(e, 10*ms, 1, true) }, 10 * ms, time.Second},
		{"a slow failure counts its time", func(e *Endpoint[int]) { end(e, 3000*ms, 2500*ms, true) }, 3000 * ms, 2500 * time.Millisecond},
		{"warm, a sample weighs by the time it covers", func(e *Endpoint[int]) {
			for i := range int64(WarmSamples) {
				end(e, (i+1)*10*ms, 10*ms, false)
			}
			end(e, WarmSamples*10*ms+1000*ms, 20*ms, false)
		}, WarmSamples*10*ms + 1000*ms, millis(20 - 10*math.Exp(-0.1))},
		{"a second without a sample changes nothing", func(e *Endpoint[int]) { end(e, 10*ms, 100*ms, false) }, 1010 * ms, millis(100)},
		{"then it fades", func(e *Endpoint[int]) { end(e, 10*ms, 100*ms, false) }, 10*ms + int64(IdleAfter+IdleDecay), millis(100 / math.E)},
		{"it never falls below the floor", func(e *Endpoint[int]) { end(e, 10*ms, 5*ms, false) }, int64(time.Hour), LatencyFloor},
		{"a clock that steps back does no harm", func(e *Endpoint[int]) { end(e, 10*ms, -5*ms, false) }, 0, LatencyFloor},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := NewEndpoint("k", 0, 1)
			tt.do(e)
			if got := e.Latency(tt.at); (got - tt.want).Abs() > time.Microsecond {
				t.Fatalf("Latency = %v, want %v", got, tt.want)
			}
			if e.InFlight() != 0 {
				t.Fatalf("InFlight = %d, want 0", e.InFlight())
			}
		})
	}
}

func millis(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }

func end(e *Endpoint[int], now, elapsed int64, failed bool) {
	e.Begin()
	e.End(now-elapsed, now, failed)
}

func TestDecayIsTheExponential(t *testing.T) {
	for _, d := range []time.Duration{-1, 0, 1, time.Millisecond, 156 * time.Millisecond, 157 * time.Millisecond, time.Second, time.Hour} {
		want := math.Exp(-max(d, 0).Seconds() / Decay.Seconds())
		if got := decay(int64(d), Decay); math.Abs(got-want) > 1e-6 {
			t.Errorf("decay(%v) = %v, want %v", d, got, want)
		}
	}
}

func TestALoadIsOneCacheLine(t *testing.T) {
	if got := unsafe.Sizeof(load{}); got != 64 {
		t.Fatalf("a load is %d bytes, want 64", got)
	}
}
