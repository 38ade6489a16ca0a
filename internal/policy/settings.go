package policy

import (
	"cmp"

	"github.com/linkmesh/link/internal/policy/limits"
	"github.com/linkmesh/link/topology"
)

// orRetry returns r with its unset fields taken from o.
func orRetry(r, o topology.Retry) topology.Retry {
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

// filledLB returns lb with the defaults filled in.
func filledLB(lb topology.LoadBalancing, d topology.Defaults) topology.LoadBalancing {
	lb.Policy = cmp.Or(lb.Policy, topology.P2C)
	lb.ZoneAware = clip(cmp.Or(lb.ZoneAware, d.ZoneAware, topology.On))
	lb.Panic = clip(cmp.Or(lb.Panic, limits.DefaultPanic))
	lb.SlowStart = clip(cmp.Or(lb.SlowStart, limits.DefaultSlowStart))
	lb.Subset = clip(cmp.Or(lb.Subset, limits.DefaultSubset))
	return lb
}

// filledOutlier returns o, which may be nil, with the defaults filled in.
func filledOutlier(o *topology.Outlier) topology.Outlier {
	if o == nil {
		o = &topology.Outlier{}
	}
	return topology.Outlier{
		Errors:   cmp.Or(o.Errors, limits.DefaultErrors),
		Interval: cmp.Or(o.Interval, limits.DefaultInterval),
		Eject:    cmp.Or(o.Eject, limits.DefaultEject),
		Max:      clip(cmp.Or(o.Max, limits.DefaultMaxEject)),
	}
}

// clip returns topology.Off for every value below it, and v otherwise.
func clip[T ~int | ~int8 | ~int64 | ~float64](v T) T { return max(v, topology.Off) }
