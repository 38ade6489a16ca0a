package linktest

import (
	"fmt"
	"time"
)

// Option changes a mesh that [NewMesh] makes.
type Option interface{ apply(s *settings) }

type settings struct {
	seed       uint64
	conditions conditions
}

type option func(s *settings)

func (o option) apply(s *settings) { o(s) }

// Delay sets the one-way delay of every packet between nodes; a round trip takes
// twice as long. The default is 0.
func Delay(d time.Duration) Option { return option(func(s *settings) { s.conditions.delay = d }) }

// Loss sets the share of all packets that are dropped, from 0, the default, to 1.
func Loss(rate float64) Option { return option(func(s *settings) { s.conditions.loss = rate }) }

// Seed chooses which packets [Loss] drops. The default is 1.
func Seed(seed uint64) Option { return option(func(s *settings) { s.seed = seed }) }

// conditions are the delay and the loss of packets.
type conditions struct {
	delay time.Duration
	loss  float64
}

func (c conditions) validate() error {
	if c.delay < 0 {
		return fmt.Errorf("the delay is %v, want 0 or more", c.delay)
	}
	// The condition is negated as a whole so that NaN is invalid too.
	if !(c.loss >= 0 && c.loss <= 1) {
		return fmt.Errorf("the loss is %v, want 0 to 1", c.loss)
	}
	return nil
}
