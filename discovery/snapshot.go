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
