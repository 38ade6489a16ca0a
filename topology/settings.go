package topology

import (
	"strconv"
	"time"
)

// Off switches off what can be: a Switch, LoadBalancing.Panic, SlowStart and Subset, Outlier.Max.
// Any negative number does the same. In YAML it is written false or 0.
const Off = -1

// Switch is a setting that is not said (0), On or Off.
type Switch int8

// On is the opposite of Off.
const On Switch = 1

// Percent is a share in percent: 0.5 is half a percent. In YAML "0.5%" or the plain number.
type Percent float64

// String returns "0.5%".
func (p Percent) String() string { return strconv.FormatFloat(float64(p), 'f', -1, 64) + "%" }

// fraction returns 0.005 for 0.5 %.
func (p Percent) fraction() float64 { return float64(p) / 100 }

// Retry says when a call that failed is sent again. It never makes a call safe to repeat that is not.
// A zero field leaves the matter to whatever is less specific: route, service, defaults, node.
type Retry struct {
	Attempts int      // in all, the first included: 1 (no retries) to MaxAttempts
	Budget   Percent  // retries as a share of calls, more than 0 to 100
	On       []string // codes: "unavailable", "resource_exhausted"
}

// or returns r with the fields of o where r says nothing.
func (r Retry) or(o Retry) Retry {
	if r.Attempts == 0 {
		r.Attempts = o.Attempts
	}
	if r.Budget == 0 {
		r.Budget = o.Budget
	}
	if r.On == nil {
		r.On = o.On
	}
	return r
}

// LBPolicy says how an instance is chosen within a level.
type LBPolicy string

// The policies.
const (
	P2C        LBPolicy = "p2c"         // the less loaded of two drawn at random
	RoundRobin LBPolicy = "round_robin" // in turn, by weight
	Hash       LBPolicy = "hash"        // by a key of the call
)

// LoadBalancing says how an instance is chosen within a level. It is comparable. The zero value
// means the defaults below; in a [Plan] they are filled in.
type LoadBalancing struct {
	Policy LBPolicy // "" means P2C

	// Key is where Hash finds the key of a call: "meta:<key>". A key of the call itself goes
	// before it; a call without either is chosen for by P2C.
	Key string

	ZoneAware Switch        // prefer instances of the caller's zone; 0: that of Defaults
	Panic     Percent       // below this share of available instances, ejected ones are called too; 0: DefaultPanic
	SlowStart time.Duration // time in which a new instance comes to its full share; 0: DefaultSlowStart
	Subset    int           // instances a client keeps of a service with more than 100; 0: DefaultSubset
}

func (lb LoadBalancing) filled(d Defaults) LoadBalancing {
	lb.Policy = first(lb.Policy, P2C)
	lb.ZoneAware = clip(first(lb.ZoneAware, d.ZoneAware, On))
	lb.Panic = clip(first(lb.Panic, DefaultPanic))
	lb.SlowStart = clip(first(lb.SlowStart, DefaultSlowStart))
	lb.Subset = clip(first(lb.Subset, DefaultSubset))
	return lb
}

// Outlier says when an instance that fails is left alone for a while. The zero value means the
// defaults, which are Envoy's; in a [Plan] they are filled in.
type Outlier struct {
	Errors   int           // failures in a row; 0: DefaultErrors
	Interval time.Duration // how often to look; 0: DefaultInterval
	Eject    time.Duration // for how long, times the ejections in a row; 0: DefaultEject
	Max      Percent       // percent of the instances at a time, at least one; 0: DefaultMaxEject; Off: nobody ever
}

func (o *Outlier) filled() Outlier {
	if o == nil {
		o = &Outlier{}
	}
	return Outlier{
		Errors:   first(o.Errors, DefaultErrors),
		Interval: first(o.Interval, DefaultInterval),
		Eject:    first(o.Eject, DefaultEject),
		Max:      clip(first(o.Max, DefaultMaxEject)),
	}
}

// Mirror sends copies of calls elsewhere and drops the replies.
type Mirror struct {
	To      Split   // as in Route; empty means {"any": 100}
	Percent Percent // percent of the calls, more than 0 to 100
}

// Fault breaks calls on purpose, to see what happens. It is refused unless Options.AllowFaults.
type Fault struct {
	Delay   time.Duration // before the call is sent; 0: none
	Abort   string        // a code such as "unavailable" that the call fails with in place of being sent; "": none
	Percent Percent       // percent of the calls, more than 0 to 100
}

// first returns the first of values that is not zero.
func first[T comparable](values ...T) T {
	var zero T
	for _, v := range values {
		if v != zero {
			return v
		}
	}
	return zero
}

// clip makes every negative value Off.
func clip[T ~int | ~int8 | ~int64 | ~float64](v T) T { return max(v, Off) }
