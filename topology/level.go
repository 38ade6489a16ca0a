package topology

import (
	"slices"
	"strings"
)

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
		return wordAny
	case SameZone:
		return wordZone
	case SameRegion:
		return wordRegion
	case SameDatacenter:
		return wordDC
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
	Subset *Subset
	Scope  Scope
}

// Takes returns the share of the calls reaching the level, 0 to 1, that it takes when available of
// its total instances are available. The rest goes on to the next level; see the package comment.
func (l Level) Takes(available, total int) float64 {
	switch {
	case available <= 0 || total <= 0:
		return 0
	case l.Scope == Anywhere:
		return 1
	}
	return min(1, float64(available)/float64(total)*Overprovision)
}

// step is a Level that refers to its subset by name. An empty subset means every instance.
type step struct {
	service string
	subset  string
	scope   Scope
}

// steps returns the levels of a route's target and a failover list, each once.
func steps(service, target string, failover []string) []step {
	own := step{service: service}
	switch other, ok := strings.CutPrefix(target, prefixService); {
	case ok:
		own.service = other
	case target != wordAny:
		own.subset = target
	}
	var list []step
	add := func(s step) {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	if own.service != service || len(failover) == 0 || !isScope(failover[0]) {
		add(own)
	}
	for _, word := range failover {
		other, isService := strings.CutPrefix(word, prefixService)
		subset, isSubset := strings.CutPrefix(word, prefixSubset)
		switch {
		case isService:
			add(step{service: other})
		case isSubset:
			add(step{service: service, subset: subset})
		case own.service == service:
			add(step{service: service, subset: own.subset, scope: scopeOf(word)})
		}
	}
	return list
}

func scopeOf(word string) Scope {
	switch word {
	case wordZone:
		return SameZone
	case wordRegion:
		return SameRegion
	case wordDC:
		return SameDatacenter
	default:
		return Anywhere
	}
}
