package policy

import (
	"github.com/linkmesh/link/internal/policy/reach"
	"github.com/linkmesh/link/topology"
)

// Overprovision is the load, as a multiple of its share, that the available part of a zone can carry:
// a level of one zone, region or datacenter takes all calls as long as 1/1.4 of its instances are
// available. The factor is Envoy's (overprovisioning_factor, 140 %).
const Overprovision = 1.4

// Scope narrows a level to the instances near the caller.
type Scope uint8

// The scopes.
const (
	Anywhere       Scope = iota // every instance
	SameZone                    // instances in the caller's zone
	SameRegion                  // instances in the caller's region
	SameDatacenter              // instances in the caller's datacenter
)

// String returns the word of a failover list: "any", "zone", "region" or "dc".
func (s Scope) String() string {
	switch s {
	case Anywhere:
		return reach.Any
	case SameZone:
		return reach.Zone
	case SameRegion:
		return reach.Region
	case SameDatacenter:
		return reach.Datacenter
	default:
		return "invalid"
	}
}

// Locality is the location of a caller or an instance. An empty field means not known.
type Locality struct{ Zone, Region, Datacenter string }

// Contains reports whether an instance at location of is within the scope of a caller at location at.
// An unknown zone, region or datacenter matches nothing.
func (s Scope) Contains(at, of Locality) bool {
	switch s {
	case Anywhere:
		return true
	case SameZone:
		return at.Zone != "" && at.Zone == of.Zone
	case SameRegion:
		return at.Region != "" && at.Region == of.Region
	case SameDatacenter:
		return at.Datacenter != "" && at.Datacenter == of.Datacenter
	default:
		return false
	}
}

// Level is one step of a [Plan]: a set of instances. It is comparable.
//
// A level whose Service is not the plan's stands for that service's own plan for the same request: get
// it from Policy.Service(Service).Route. Use Levels, LB and Outlier of that plan, but Timeout, Retry,
// Mirror and Fault of the first plan. Such a level has a nil Subset and the Scope Anywhere.
type Level struct {
	Service string

	// Subset may be nil: every instance.
	Subset *topology.Subset
	Scope  Scope
}

// Takes returns the share of the calls reaching the level, 0 to 1, that it takes when available of
// its total instances are available. The rest goes on to the next level; see package topology.
func (l Level) Takes(available, total int) float64 {
	switch {
	case available <= 0 || total <= 0:
		return 0
	case l.Scope == Anywhere:
		return 1
	}
	return min(1, float64(available)/float64(total)*Overprovision)
}

// scopeOf returns the scope that a step names.
func scopeOf(word string) Scope {
	switch word {
	case reach.Zone:
		return SameZone
	case reach.Region:
		return SameRegion
	case reach.Datacenter:
		return SameDatacenter
	default:
		return Anywhere
	}
}
