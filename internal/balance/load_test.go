package balance

import (
	"math"
	"testing"
	"time"
)

// TestAHiccupWhileWarmingLeavesNothing checks that one slow call among the first ones
// has no effect on the latency of an instance once it is warm.
func TestAHiccupWhileWarmingLeavesNothing(t *testing.T) {
	for slow := range int64(WarmSamples) {
		e := alone()
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

func TestLatencyAverage(t *testing.T) {
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
		{"warm, a slower sample at most doubles the average", func(e *Endpoint[int]) {
			settle(e, 1*ms)
			end(e, 1000*ms, 500*ms, false)
		}, 1000 * ms, millis(2)},
		{"four slower ones in a row raise it to the least of them", func(e *Endpoint[int]) {
			settle(e, 1*ms)
			end(e, 100*ms, 50*ms, false)
			end(e, 110*ms, 40*ms, false)
			end(e, 120*ms, 60*ms, false)
			end(e, 130*ms, 60*ms, false)
		}, 130 * ms, millis(40)},
		{"a faster one breaks the row", func(e *Endpoint[int]) {
			settle(e, 1*ms)
			end(e, 81*ms, 50*ms, false)
			end(e, 82*ms, 50*ms, false)
			end(e, 83*ms, 50*ms, false)
			end(e, 84*ms, 0, false)
			end(e, 85*ms, 50*ms, false)
		}, 85 * ms, millis(1.0195)},
		{"the next row begins after it", func(e *Endpoint[int]) {
			settle(e, 1*ms)
			for i := range int64(SlowRun) {
				end(e, (100+i)*ms, 40*ms, false)
			}
			for i := range int64(SlowRun) {
				end(e, (110+i)*ms, 60*ms, false)
			}
		}, 113 * ms, millis(60)},
		{"what they have raised falls five times as fast", func(e *Endpoint[int]) {
			settle(e, 1*ms)
			// This is one sample too few to end the peak.
			for i := range int64(SlowRun + PeakHeld - 1) {
				end(e, (100+i)*ms, 50*ms, false)
			}
			end(e, 110*ms+1000*ms, 1*ms, false)
		}, 1110 * ms, millis(1 + 49*math.Exp(-0.5))},
		{"but not when those that follow are as slow", func(e *Endpoint[int]) {
			settle(e, 1*ms)
			for i := range int64(SlowRun + PeakHeld) {
				end(e, (100+i)*ms, 50*ms, false)
			}
			end(e, 111*ms+1000*ms, 1*ms, false)
		}, 1111 * ms, millis(1 + 49*math.Exp(-0.1))},
		{"so do failures, whatever the time they take", func(e *Endpoint[int]) {
			settle(e, 1*ms)
			for i := range int64(SlowRun) {
				end(e, (100+i)*ms, 1*ms, true)
			}
		}, 103 * ms, time.Second},
		{"a second without a sample changes nothing", func(e *Endpoint[int]) { end(e, 10*ms, 100*ms, false) }, 1010 * ms, millis(100)},
		{"then it fades", func(e *Endpoint[int]) { end(e, 10*ms, 100*ms, false) }, 10*ms + int64(IdleAfter+IdleDecay), millis(100 / math.E)},
		{"it never falls below the floor", func(e *Endpoint[int]) { end(e, 10*ms, 5*ms, false) }, int64(time.Hour), LatencyFloor},
		{"a clock that steps back does no harm", func(e *Endpoint[int]) { end(e, 10*ms, -5*ms, false) }, 0, LatencyFloor},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := alone()
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

// settle warms e up with calls of the given latency, the last of which ends at 80 ms.
func settle(e *Endpoint[int], latency int64) {
	for i := range int64(WarmSamples) {
		end(e, (i+1)*10*int64(time.Millisecond), latency, false)
	}
}

func millis(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }

func end(e *Endpoint[int], now, elapsed int64, failed bool) {
	e.Begin(now - elapsed)
	e.End(now-elapsed, now, outcome(failed))
}

// outcome returns Faulted for a call that failed, and Answered otherwise.
func outcome(failed bool) Outcome {
	if failed {
		return Faulted
	}
	return Answered
}

func TestDecayIsTheExponential(t *testing.T) {
	for _, d := range []time.Duration{-1, 0, 1, time.Millisecond, 156 * time.Millisecond, 157 * time.Millisecond, time.Second, time.Hour} {
		want := math.Exp(-max(d, 0).Seconds() / Decay.Seconds())
		if got := decay(int64(d), Decay); math.Abs(got-want) > 1e-6 {
			t.Errorf("decay(%v) = %v, want %v", d, got, want)
		}
	}
}
