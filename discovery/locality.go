package discovery

import (
	"strconv"
	"strings"
)

// Where an instance runs is said by a tag such as "zone=eu-1a" or, without one, by the pair of
// Meta with that key. Names are compared as they are. An instance is in one place of each kind,
// which has a name (see Instance.ValidatePlace); of several the first in the alphabet counts, and
// one without a name does not.
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
	place := ""
	for _, tag := range in.Tags {
		if name, ok := placeOf(tag, key); ok && name != "" && (place == "" || name < place) {
			place = name
		}
	}
	if place == "" {
		return in.Meta[key]
	}
	return place
}

// placeOf returns eu-1a for the tag "zone=eu-1a" and the key zone.
func placeOf(tag, key string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(tag, key)
	if !ok || !strings.HasPrefix(rest, "=") {
		return "", false
	}
	return rest[1:], true
}

type placeKey struct{ key, word string }

// placeKeys are the keys of places, with the words that errors use.
func placeKeys() [3]placeKey {
	return [3]placeKey{{KeyZone, "zone"}, {KeyRegion, "region"}, {KeyDatacenter, "datacenter"}}
}

// IsPlace reports whether a tag says where an instance is: "zone=eu-1a", "region=eu", "dc=1".
func IsPlace(tag string) bool {
	for _, p := range placeKeys() {
		if _, ok := placeOf(tag, p.key); ok {
			return true
		}
	}
	return false
}

// ValidatePlace checks that the instance says at most one zone, region and datacenter, and each
// with its name. It is for those who announce one: Validate lets the rest through, so that what
// others have announced wrongly can still be called. The error is a *FieldError that wraps
// ErrInvalidInstance.
func (in Instance) ValidatePlace() error {
	bad := func(field, value, reason string) error {
		return &FieldError{Kind: ErrInvalidInstance, Field: field, Value: value, Reason: reason}
	}
	for _, p := range placeKeys() {
		first := ""
		for i, tag := range in.Tags {
			name, ok := placeOf(tag, p.key)
			if !ok {
				continue
			}
			field := "Tags[" + strconv.Itoa(i) + "]"
			if name == "" {
				return bad(field, tag, "names no "+p.word+"; write its name after the =, or leave the tag out")
			}
			if first != "" && first != tag {
				return bad(field, tag, quote(first)+" is there, too, and an instance is in one "+p.word+"; remove one of them")
			}
			first = tag
		}
		if name, ok := in.Meta[p.key]; ok && name == "" {
			return bad("Meta["+quote(p.key)+"]", name, "names no "+p.word+"; write its name, or leave the pair out")
		}
	}
	return nil
}

// Placer is implemented by registries that know where this process is.
type Placer interface {
	// Datacenter returns the datacenter that the registry serves this process from, "" as long as
	// that is not known.
	Datacenter() string
}
