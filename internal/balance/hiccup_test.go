//go:build !race

package balance

import (
	"testing"
	"time"
)

// The tests of this file do not run under the race detector: each has one goroutine, and costs ten times as much
// there. The detector sees picks beside updates in race_test.go.

// TestEqualsShareAlikeAfterAHiccup has one of two idle instances be slow, or fail, for a
// while, and a single caller that makes one call at a time. It expects that each instance
// has its half again within 5 s after both answer alike, even if an instance that had no
// calls for a while needs a few to be as fast as the other.
func TestEqualsShareAlikeAfterAHiccup(t *testing.T) {
	hiccups := map[string]func(c *callers, v *server){
		"none": func(*callers, *server) {},
		"one slow call": func(c *callers, v *server) {
			c.freeze(v, 500*time.Millisecond)
			c.call(500 * time.Millisecond)
		},
		"slow for a second": func(c *callers, v *server) {
			latency := v.latency
			v.latency = 100 * time.Millisecond
			c.call(time.Second)
			v.latency = latency
		},
		"slow for 20 s": func(c *callers, v *server) {
			latency := v.latency
			v.latency = 500 * time.Millisecond
			c.call(20 * time.Second)
			v.latency = latency
		},
		"out of time for 3 s": func(c *callers, v *server) {
			c.freeze(v, 3*time.Second)
			c.call(3 * time.Second)
		},
		"broken for a second": func(c *callers, v *server) {
			v.fails = true
			c.call(time.Second)
			v.fails = false
		},
		"broken for 20 s": func(c *callers, v *server) {
			v.fails = true
			c.call(20 * time.Second)
			v.fails = false
		},
	}
	for name, hiccup := range hiccups {
		for _, latency := range []time.Duration{20 * time.Microsecond, 100 * time.Microsecond, time.Millisecond, 20 * time.Millisecond} {
			for _, cold := range []int{0, 3} {
				all := servers(2, latency)
				all[0].cold, all[1].cold = cold, cold
				c := callersOf(simulateWith(Options{}, all...), 1)
				c.call(2 * time.Second)
				hiccup(c, all[0])
				c.call(5 * time.Second)
				c.forget()
				// These are so many calls that chance alone does not make such a difference.
				c.call(max(2*time.Second, 500*latency))
				if got, sum := all[0].calls, total(all); got < sum*35/100 || got > sum*65/100 {
					t.Errorf("%s at %v, %d cold calls: it has %d of %d calls", name, latency, cold, got, sum)
				}
			}
		}
	}
}
