package discovery

import (
	"strconv"

	"github.com/linkmesh/link/internal/place"
)

// Zone returns the zone that the instance claims to be in, or "". A zone fails as a unit: an
// availability zone, a rack.
//
// The zone is given by a tag such as "zone=eu-1a" or, without such a tag, by the pair of Meta with the
// key "zone". Names are compared byte by byte. An instance is in one named zone (see ValidatePlace). If
// it claims several, the first in alphabetical order counts; one without a name is ignored.
func (in Instance) Zone() string { return in.place(place.Zone) }

// Region returns the region that the instance claims to be in, or "". A region is zones with a low
// round-trip time between them. It is given like the zone, with the key "region".
func (in Instance) Region() string { return in.place(place.Region) }

// Datacenter returns the datacenter of the instance, "" if it is unknown. A datacenter has a registry
// of its own. It is given like the zone, with the key "dc", which discovery/consul fills in.
func (in Instance) Datacenter() string { return in.place(place.Datacenter) }

// place returns the place of the instance of the kind with this key, or "".
func (in Instance) place(key string) string {
	least := ""
	for _, tag := range in.Tags {
		if name, ok := place.Name(tag, key); ok && name != "" && (least == "" || name < least) {
			least = name
		}
	}
	if least == "" {
		return in.Meta[key]
	}
	return least
}

// ValidatePlace checks that the instance has at most one zone, region and datacenter, each with a
// name. It is for the announcing side. Validate does not check this, so that an instance that was
// announced with a wrong place can still be called. The error is a *FieldError that wraps
// ErrInvalidInstance.
func (in Instance) ValidatePlace() error {
	bad := func(field, value, reason string) error {
		return &FieldError{Kind: ErrInvalidInstance, Field: field, Value: value, Reason: reason}
	}
	for _, kind := range place.Kinds() {
		first := ""
		for i, tag := range in.Tags {
			name, ok := place.Name(tag, kind.Key)
			if !ok {
				continue
			}
			field := "Tags[" + strconv.Itoa(i) + "]"
			if name == "" {
				return bad(field, tag, "names no "+kind.Word+"; write its name after the =, or leave the tag out")
			}
			if first != "" && first != tag {
				return bad(field, tag, quote(first)+" is there, too, and an instance is in one "+kind.Word+"; remove one of them")
			}
			first = tag
		}
		if name, ok := in.Meta[kind.Key]; ok && name == "" {
			return bad("Meta["+quote(kind.Key)+"]", name, "names no "+kind.Word+"; write its name, or leave the pair out")
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
