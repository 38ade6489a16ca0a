package discovery

import "time"

// Snapshot is all that a registry knows about one service at one moment.
//
// It is shared by every receiver and by the registry: nobody may modify Instances or what the
// instances refer to. The registry keeps to that as well, so a snapshot may be kept and read at
// any time without a copy.
type Snapshot struct {
	Service   string
	Namespace string     // never empty
	Instances []Instance // sorted by ID, normalized, at most MaxInstances

	// Version is greater in every later snapshot of one watch. Numbers may be left out, and they
	// say nothing across registries.
	Version uint64

	// Origin says who could have written this.
	Origin Origin

	// Source names the back end: "local", "static", "consul".
	Source string

	// Stale says that the registry could not be read since, so this is the last known state. Use
	// it: losing the registry must not lose the mesh.
	Stale bool

	// Reason says in one line why the state is stale, "" if it is not.
	Reason string

	// At is when the registry saw this state. A stale snapshot keeps the time of the last good read,
	// which is zero if there was none.
	At time.Time
}

// Origin says who could have written a snapshot, and so how far its receiver believes it.
type Origin uint8

const (
	// FromNetwork is a registry that other machines write to. It is the zero value. Package link
	// lets instances confirm their tags themselves and does not follow addresses of its own host.
	FromNetwork Origin = iota

	// FromHost is a registry that only processes of this user on this machine write to.
	FromHost

	// FromConfig is what this process itself was configured with: it is believed.
	FromConfig
)

// String returns "network", "host", "configuration" or "invalid".
func (o Origin) String() string {
	switch o {
	case FromNetwork:
		return "network"
	case FromHost:
		return "host"
	case FromConfig:
		return "configuration"
	default:
		return "invalid"
	}
}
