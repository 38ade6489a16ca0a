package subject

import "strings"

// Realm is a namespace in a publisher's log. Each has a prefix of its own, so that a
// pattern in one selects nothing in another. The zero value is the realm of the service's
// own topics.
type Realm struct {
	Kind RealmKind
	// Dead is set for the realm of the kind's dead letters.
	Dead bool
}

// RealmKind says who publishes in a [Realm].
type RealmKind uint8

// The kinds of realms.
const (
	// Own is for the topics of the publisher's service.
	Own RealmKind = iota
	// Shared is for the topics that any service may publish to.
	Shared
	// Broadcast is for messages whose topic is the name of their type.
	Broadcast
)

// realms returns all realms.
func realms() []Realm {
	return []Realm{
		{Own, false},
		{Shared, false},
		{Broadcast, false},
		{Own, true},
		{Shared, true},
		{Broadcast, true},
	}
}

// Prefix returns the prefix of all paths in the realm. See docs/wire.md.
func (r Realm) Prefix() string {
	const link, dead = Reserved + ".", Reserved + ".dead."
	switch {
	case r == Realm{}:
		return ""
	case r.Dead:
		return [...]string{Own: dead + "own.", Shared: dead + "shared.", Broadcast: dead + "broadcast."}[r.Kind]
	default:
		return [...]string{Own: link + "own.", Shared: link + "shared.", Broadcast: link + "broadcast."}[r.Kind]
	}
}

// RealmOf splits a path, which is a topic or a pattern as the log names it, into its realm and
// the name there. A path without a known prefix is a topic of the service itself, as nearly all
// are.
func RealmOf(path string) (r Realm, name string) {
	if !strings.HasPrefix(path, Reserved) {
		return Realm{}, path
	}
	for _, r := range realms()[1:] {
		if name, ok := strings.CutPrefix(path, r.Prefix()); ok {
			return r, name
		}
	}
	return Realm{}, path
}
