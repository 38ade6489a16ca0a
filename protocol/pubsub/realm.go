package pubsub

import (
	"strings"

	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

// realm is a namespace in a publisher's log. Each has a prefix of its own, so that a
// pattern in one selects nothing in another. The zero value is the realm of the service's
// own topics.
type realm struct {
	kind realmKind
	dead bool // the realm of the kind's dead letters
}

type realmKind uint8

const (
	own realmKind = iota
	shared
	broadcast
)

// realms returns all realms.
func realms() []realm {
	return []realm{
		{own, false},
		{shared, false},
		{broadcast, false},
		{own, true},
		{shared, true},
		{broadcast, true},
	}
}

// prefix returns the prefix of all paths in the realm. See docs/wire.md.
func (r realm) prefix() string {
	const link, dead = subject.Reserved + ".", subject.Reserved + ".dead."
	switch {
	case r == realm{}:
		return ""
	case r.dead:
		return [...]string{own: dead + "own.", shared: dead + "shared.", broadcast: dead + "broadcast."}[r.kind]
	default:
		return [...]string{own: link + "own.", shared: link + "shared.", broadcast: link + "broadcast."}[r.kind]
	}
}

// realmOf splits a path into its realm and the name there. A path without a known prefix is
// a topic of the service itself, as nearly all are.
func realmOf(path string) (r realm, name string) {
	if !strings.HasPrefix(path, subject.Reserved) {
		return realm{}, path
	}
	for _, r := range realms()[1:] {
		if name, ok := strings.CutPrefix(path, r.prefix()); ok {
			return r, name
		}
	}
	return realm{}, path
}
