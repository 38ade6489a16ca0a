// Package place knows the tags that say where an instance is, such as "zone=eu-1a". Package discovery documents what they
// mean.
package place

import "strings"

// Keys of places, in tags and in pairs of meta data.
const (
	Zone       = "zone"
	Region     = "region"
	Datacenter = "dc"
)

// Kind is a kind of place: its key, and the word that errors use for it.
type Kind struct{ Key, Word string }

// Kinds returns all kinds of places.
func Kinds() [3]Kind {
	return [3]Kind{{Zone, "zone"}, {Region, "region"}, {Datacenter, "datacenter"}}
}

// Is reports whether a tag says where an instance is: "zone=eu-1a", "region=eu", "dc=1".
func Is(tag string) bool {
	for _, k := range Kinds() {
		if _, ok := Name(tag, k.Key); ok {
			return true
		}
	}
	return false
}

// Name returns eu-1a for the tag "zone=eu-1a" and the key zone. ok is false if the tag has another key or none.
func Name(tag, key string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(tag, key)
	if !ok || !strings.HasPrefix(rest, "=") {
		return "", false
	}
	return rest[1:], true
}
