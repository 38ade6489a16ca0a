package pubsub

import (
	"strings"

	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

// realm is a part of the names in a publisher's log; each has a prefix of its own, so
// that a pattern in one selects nothing of another. The zero value is the service's own
// topics.
type realm struct {
	kind realmKind
	dead bool // the dead letters of the kind
}

type realmKind uint8

const (
	own realmKind = iota
	shared
	broadcast
)

// realms are all of them.
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

// prefix is what paths of the realm begin with. See docs/wire.md.
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

// realmOf takes a path apart. What is in no realm of link's is the service's own.
func realmOf(path string) (r realm, name string) {
	if !strings.HasPrefix(path, subject.Reserved) {
		return realm{}, path // nearly every message ends here
	}
	for _, r := range realms()[1:] {
		if name, ok := strings.CutPrefix(path, r.prefix()); ok {
			return r, name
		}
	}
	return realm{}, path
}
