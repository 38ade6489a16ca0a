package discovery

import (
	"strconv"
	"strings"
)

// The location of an instance is given by a tag such as "zone=eu-1a" or, without such a tag, by the
// pair of Meta with that key. Names are compared byte by byte. An instance is in one named place of
// each kind (see Instance.ValidatePlace). If it claims several, the first in alphabetical order
// counts; a place without a name is ignored.
const (
	// KeyZone is the key of a zone, which fails as a unit: an availability zone, a rack.
	KeyZone = "zone"

	// KeyRegion is the key of a region: zones with a low round-trip time between them.
	KeyRegion = "region"

	// KeyDatacenter is the key of a datacenter, which has a registry of its own. discovery/consul
	// fills it in.
	KeyDatacenter = "dc"
)

// Zone returns the zone that the instance claims to be in, or "".
func (in Instance) Zone() string { return in.place(KeyZone) }

// Region returns the region that the instance claims to be in, or "".
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

// placeKeys returns the keys of places, with the words that errors use for them.
func placeKeys() [3]placeKey {
	return [3]placeKey{{KeyZone, "zone"}, {KeyRegion, "region"}, {KeyDatacenter, "datacenter"}}
}

// IsPlace reports whether a tag gives the location of an instance: "zone=eu-1a", "region=eu", "dc=1".
func IsPlace(tag string) bool {
	for _, p := range placeKeys() {
		if _, ok := placeOf(tag, p.key); ok {
			return true
		}
	}
	return false
}

// ValidatePlace checks that the instance has at most one zone, region and datacenter, each with a
// name. It is for the announcing side. Validate does not check this, so that an instance that was
// announced with a wrong place can still be called. The error is a *FieldError that wraps
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

// Placer is implemented by registries that know where this process runs.
type Placer interface {
	// Datacenter returns the datacenter from which the registry serves this process, or "" if it is
	// not known yet.
	Datacenter() string
}
