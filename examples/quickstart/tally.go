package main

import (
	"maps"
	"sync"
	"time"
)

// Tally counts the results of the calls of a load since it was set, or of Many.
// Answered is keyed by the version that answered, and Failure is the first failure.
type Tally struct {
	Answered map[string]int
	Failed   int
	Failure  string
	Slowest  time.Duration
}

// total returns the number of calls that were answered.
func (t Tally) total() int {
	n := 0
	for _, answered := range t.Answered {
		n += answered
	}
	return n
}

// minus returns the results since an earlier tally, without Failure and Slowest.
func (t Tally) minus(earlier Tally) Tally {
	since := Tally{Answered: make(map[string]int), Failed: t.Failed - earlier.Failed}
	for version, answered := range t.Answered {
		since.Answered[version] = answered - earlier.Answered[version]
	}
	return since
}

// counter makes a Tally of the calls of several callers.
type counter struct {
	mu    sync.Mutex // guards tally
	tally Tally
}

func (c *counter) add(version string, took time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.tally
	t.Slowest = max(t.Slowest, took)
	if err != nil {
		if t.Failed++; t.Failed == 1 {
			t.Failure = err.Error()
		}
		return
	}
	if t.Answered == nil {
		t.Answered = make(map[string]int)
	}
	t.Answered[version]++
}

func (c *counter) count() Tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tally
	t.Answered = maps.Clone(t.Answered)
	return t
}

// reset clears the tally and returns the old one.
func (c *counter) reset() Tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := c.tally
	c.tally = Tally{}
	return last
}
