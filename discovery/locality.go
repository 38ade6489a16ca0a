package discovery

import "strings"

// Where an instance runs is said by a tag such as "zone=eu-1a" or, without one, by the pair of
// Meta with that key. Names are compared as they are.
const (
	KeyZone       = "zone"   // what fails together: an availability zone, a rack
	KeyRegion     = "region" // what is near: zones with a low round trip between them
	KeyDatacenter = "dc"     // a registry of its own; discovery/consul fills it in
)

// Zone returns the zone the instance says it is in, "" if it says none.
func (in Instance) Zone() string { return in.place(KeyZone) }

// Region returns the region the instance says it is in, "" if it says none.
func (in Instance) Region() string { return in.place(KeyRegion) }

// Datacenter returns the datacenter of the instance, "" if it is unknown.
func (in Instance) Datacenter() string { return in.place(KeyDatacenter) }

func (in Instance) place(key string) string {
	for _, tag := range in.Tags {
		if rest, ok := strings.CutPrefix(tag, key); ok && strings.HasPrefix(rest, "=") {
			return rest[1:]
		}
	}
	return in.Meta[key]
}

// Placer is implemented by registries that know where this process is.
type Placer interface {
	// Datacenter returns the datacenter that the registry serves this process from, "" as long as
	// that is not known.
	Datacenter() string
}
