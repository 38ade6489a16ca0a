package discovery

import "time"

// Snapshot is everything that a registry knows about one service at one moment.
//
// It is shared by every receiver and by the registry. Neither may modify Instances or anything that
// the instances refer to, so a snapshot may be kept and read at any time without a copy.
type Snapshot struct {
	Service string

	// Namespace is never empty.
	Namespace string

	// Instances are normalized and sorted by ID. There are at most 16,384: a registry rejects further
	// ones with ErrLimit or, if others have written them, leaves them out and logs that.
	Instances []Instance

	// Version increases from snapshot to snapshot of one watch. Numbers may be skipped, and they
	// are not comparable across registries.
	Version uint64

	// Origin tells who could have written this snapshot.
	Origin Origin

	// Source names the back end: "local", "static", "consul".
	Source string

	// Stale means that the registry could not be read since, so this is the last known state. Keep
	// using it: losing the registry must not lose the mesh.
	Stale bool

	// Reason says in one line why the state is stale. It is "" if the state is not stale.
	Reason string

	// At is when the registry saw this state. A stale snapshot keeps the time of the last successful
	// read, which is zero if there was none.
	At time.Time
}

// Origin tells who could have written a snapshot, and therefore how far a receiver trusts it.
type Origin uint8

const (
	// FromNetwork is a registry that other machines write to. It is the zero value. Package link
	// then asks instances to confirm their tags, and does not follow addresses of its own host.
	FromNetwork Origin = iota

	// FromHost is a registry that only processes of this user on this machine write to.
	FromHost

	// FromConfig is the configuration of this process. It is trusted.
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
