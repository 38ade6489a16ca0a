package balance

import (
	"cmp"
	"time"
)

// Defaults of the fields of [Options] and [GroupOptions].
const (
	// DefaultSlowStart is how long the share of a new instance grows.
	DefaultSlowStart = 30 * time.Second

	// DefaultErrors, DefaultInterval, DefaultEject and DefaultMax are the defaults of
	// Envoy's outlier detection: consecutive_5xx, interval, base_ejection_time and
	// max_ejection_percent.
	DefaultErrors   = 5
	DefaultInterval = 10 * time.Second
	DefaultEject    = 30 * time.Second
	DefaultMax      = 0.1

	// DefaultPanic is the share of a group that must be available for ejections to
	// apply, like Envoy's healthy_panic_threshold.
	DefaultPanic = 0.5

	// DefaultSubset is how many instances one client keeps of a large group.
	DefaultSubset = 20
)

const (
	// MaxEject bounds how long one ejection lasts, like Envoy's max_ejection_time.
	MaxEject = 5 * time.Minute

	// RampFloor is the fraction of its share that a new instance starts with.
	RampFloor = 0.1

	// SubsetAbove is the number of instances above which a client keeps a subset.
	SubsetAbove = 100

	// ZoneMinimum is the least size of a group whose picks prefer the client's zone,
	// like Envoy's min_cluster_size.
	ZoneMinimum = 6

	// ZoneSpare is how many times its own share of load an available instance of the
	// client's zone may get before picks spill into other zones.
	ZoneSpare = 1.4
)

// Options says how a [Set] treats its instances. The zero value means all defaults.
type Options struct {
	// Self identifies this client: clients that differ in it keep different subsets
	// of a large group.
	Self string
	// Zone is where this client runs. "" turns zones off.
	Zone string
	// SlowStart is how long the share of a new instance grows, from [RampFloor] to
	// the whole. 0 means [DefaultSlowStart]; a negative value turns slow start off.
	SlowStart time.Duration
	// Outlier says when an instance that fails is ejected.
	Outlier Outlier
}

// Outlier says when an instance that fails is ejected, and for how long. The zero
// value means all defaults.
type Outlier struct {
	// Errors is how many failures in a row eject an instance. 0 means
	// [DefaultErrors]; a negative value turns ejection off.
	Errors int
	// Interval is the time in health that compensates for one ejection. 0 and below
	// mean [DefaultInterval].
	Interval time.Duration
	// Eject is how long the first ejection lasts; the n-th in a row lasts n times as
	// long, up to [MaxEject]. 0 and below mean [DefaultEject].
	Eject time.Duration
	// Max is the greatest share of the set that may be ejected at a time; one
	// instance always may. 0 means [DefaultMax]; a negative value means one instance.
	Max float64
}

func (o Options) resolved() Options {
	o.SlowStart = max(cmp.Or(o.SlowStart, DefaultSlowStart), 0)
	o.Outlier.Errors = max(cmp.Or(o.Outlier.Errors, DefaultErrors), 0)
	o.Outlier.Interval = cmp.Or(max(o.Outlier.Interval, 0), DefaultInterval)
	o.Outlier.Eject = cmp.Or(max(o.Outlier.Eject, 0), DefaultEject)
	o.Outlier.Max = cmp.Or(o.Outlier.Max, DefaultMax)
	return o
}

// Policy is how a [Group] picks without a key.
type Policy uint8

const (
	// P2C picks the lighter of two instances drawn at random.
	P2C Policy = iota
	// RoundRobin picks the instances in turn, by weight, whatever their load.
	RoundRobin
	// Hash is for groups whose picks have a key; such a group has no subset. A pick
	// without a key works as with P2C.
	Hash
)

// GroupOptions says how a [Group] picks. The zero value means P2C with all defaults.
type GroupOptions struct {
	Policy Policy
	// ZoneAware prefers instances in [Options.Zone].
	ZoneAware bool
	// Panic is the share of the group that must be available for ejections to
	// apply. 0 means [DefaultPanic]; with a negative value they always apply.
	Panic float64
	// Subset is how many instances this client keeps of more than [SubsetAbove]. 0
	// means [DefaultSubset]; a negative value means all.
	Subset int
}

func (o GroupOptions) resolved() GroupOptions {
	o.Panic = cmp.Or(o.Panic, DefaultPanic)
	o.Subset = cmp.Or(o.Subset, DefaultSubset)
	return o
}
