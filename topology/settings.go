package topology

import (
	"strconv"
	"time"
)

// Off switches off a Switch, LoadBalancing.Panic, SlowStart or Subset, or Outlier.Max.
// Any negative number does the same. In YAML it is written false or 0.
const Off = -1

// Switch is a setting that is On, Off or not set. The zero value means not set.
type Switch int8

// On is the opposite of Off.
const On Switch = 1

// Percent is a share in percent: 0.5 is half a percent. In YAML it is written "0.5%" or as a plain number.
type Percent float64

// String returns "0.5%".
func (p Percent) String() string { return strconv.FormatFloat(float64(p), 'f', -1, 64) + "%" }

// Retry says when a failed call is retried. It does not permit retries of calls that are unsafe to repeat.
// A zero field means the setting of the next less specific place: route, service, defaults, node.
type Retry struct {
	// Attempts is the total number of attempts, including the first: 1 (no retries) to 5.
	Attempts int

	// Budget bounds retries as a share of calls: more than 0, at most 100.
	Budget Percent

	// On lists the codes to retry on: "unavailable", "resource_exhausted".
	On []string
}

// LBPolicy says how an instance is chosen within a level.
type LBPolicy string

// The policies.
const (
	P2C        LBPolicy = "p2c"         // the less loaded of two drawn at random
	RoundRobin LBPolicy = "round_robin" // in turn, by weight
	Hash       LBPolicy = "hash"        // by a key of the call
)

// LoadBalancing says how an instance is chosen within a level. It is comparable. A zero field
// means the default named at the field; in an [Explanation] the defaults are filled in.
type LoadBalancing struct {
	// Policy is P2C by default.
	Policy LBPolicy

	// Key names the source of the key for Hash: "meta:<key>". The key of link.Sticky takes precedence
	// over it. Without a key, P2C chooses the instance.
	Key string

	// ZoneAware makes a client prefer instances in its own zone. The default is Defaults.ZoneAware.
	ZoneAware Switch

	// Panic is the share of available instances below which ejected ones are called too. The default
	// is 50 %.
	Panic Percent

	// SlowStart is the time a new instance takes to reach its full share. The default is 30 s.
	SlowStart time.Duration

	// Subset is the number of instances that a client uses of a service with more than 100. The default
	// is 20, and the maximum 10,000.
	Subset int
}

// Outlier says when a failing instance is ejected for a while. A zero field means the default named
// at the field; the defaults are Envoy's. In an [Explanation] they are filled in.
type Outlier struct {
	// Errors is the number of consecutive failures that ejects an instance. The default is 5.
	Errors int

	// Interval is the time between checks. The default is 10 s.
	Interval time.Duration

	// Eject is the duration of an ejection; it is multiplied by the number of consecutive ejections. The
	// default is 30 s.
	Eject time.Duration

	// Max is the percentage of the instances that may be ejected at a time, but at least one instance.
	// The default is 10 %. Off means that no instance is ejected.
	Max Percent
}

// Mirror sends copies of calls elsewhere and drops the replies.
type Mirror struct {
	// To is where the copies go, as in Route. Empty means {"any": 100}.
	To Split

	// Percent is the percentage of the calls to copy: more than 0, at most 100.
	Percent Percent
}

// Fault breaks calls on purpose, for tests of resilience. It is refused unless link.Config.Routing.AllowFaults is set.
type Fault struct {
	// Delay is the time to wait before the call is sent. Zero means none.
	Delay time.Duration

	// Abort is a code such as "unavailable" that the call fails with, instead of being sent. Empty means none.
	Abort string

	// Percent is the percentage of the calls to break: more than 0, at most 100.
	Percent Percent
}
