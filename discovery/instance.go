package discovery

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

const (
	// DefaultNamespace is the namespace of an Instance or Query whose Namespace is empty.
	DefaultNamespace = "default"

	// DefaultWeight is the weight of an Instance whose Weight is 0. By link's convention, passing
	// services in Consul have the same weight, so that the two are comparable.
	DefaultWeight = 100
)

// Status tells whether an instance accepts new work.
type Status uint8

const (
	// Serving means that the instance accepts new work. It is the zero value.
	Serving Status = iota

	// Draining means that the instance finishes its current work and accepts none. A draining
	// instance stays in the snapshots, so that connections to it are not mistaken for dead ones.
	Draining
)

// String returns "serving", "draining" or "invalid".
func (s Status) String() string {
	switch s {
	case Serving:
		return "serving"
	case Draining:
		return "draining"
	default:
		return "invalid"
	}
}

// Instance is one running node of a service as a registry knows it.
//
// Instances delivered by a registry are shared and must not be modified. A registry copies the
// instances that it is given, so the caller keeps ownership of its own.
type Instance struct {
	// ID is unique per process start; see NewInstanceID. It has 1 to 128 bytes of [A-Za-z0-9._-],
	// and begins and ends with a letter or digit.
	ID string

	// Service is the name the node serves under. It has 1 to 63 bytes, same characters as ID.
	Service string

	// Namespace separates services of the same name. "" is DefaultNamespace.
	Namespace string

	// Addr is the "host:port" to dial: an IP address or a host name, and a port from 1 to 65535.
	Addr string

	// Tags are short selectors such as "v2" or "zone=eu-1a". They form a set: order and duplicates
	// are ignored. At most 64 of 1 to 128 bytes each, printable, without spaces.
	Tags []string

	// TagsUnknown means that the tags are not known, so that the instance has to be asked. Tags is
	// empty then. It is for lists written by hand: an instance that announces itself knows its tags.
	TagsUnknown bool

	// Meta holds machine-readable facts. At most 56 pairs; keys are 1 to 128 bytes of
	// [A-Za-z0-9_-], values at most 512 printable bytes.
	Meta map[string]string

	// Weight is the share of work relative to the other instances of the service, 1 to 65535.
	// 0 is DefaultWeight. To get no work at all, set Status to Draining.
	Weight int

	// Status tells whether the instance accepts new work.
	Status Status

	// Started is when the process started, to the millisecond. Zero means unknown.
	Started time.Time
}

// Normalized returns a deep copy of in with its defaults filled in: Namespace and Weight are set,
// Tags are sorted and without duplicates, TagsUnknown is false if there are any Tags, empty Tags and
// Meta are nil, Started is in UTC and truncated to milliseconds. Registries deliver instances in this
// form.
func (in Instance) Normalized() Instance {
	if in.Namespace == "" {
		in.Namespace = DefaultNamespace
	}
	if in.Weight == 0 {
		in.Weight = DefaultWeight
	}
	if len(in.Tags) == 0 {
		in.Tags = nil
	} else {
		in.Tags, in.TagsUnknown = slices.Compact(slices.Sorted(slices.Values(in.Tags))), false
	}
	if len(in.Meta) == 0 {
		in.Meta = nil
	} else {
		in.Meta = maps.Clone(in.Meta)
	}
	if !in.Started.IsZero() {
		// Time.Truncate counts from year 1, so only UnixMilli survives a round trip.
		in.Started = time.UnixMilli(in.Started.UnixMilli()).UTC()
	}
	return in
}

// Query returns the query that selects in, with defaults filled in.
func (in Instance) Query() Query {
	return Query{Service: in.Service, Namespace: in.Namespace}.Normalized()
}

// Equal reports whether in and other are equal, field by field. It does not fill in defaults, so
// compare normalized instances.
func (in Instance) Equal(other Instance) bool {
	return in.ID == other.ID &&
		in.Service == other.Service &&
		in.Namespace == other.Namespace &&
		in.Addr == other.Addr &&
		in.Weight == other.Weight &&
		in.Status == other.Status &&
		in.Started.Equal(other.Started) &&
		in.TagsUnknown == other.TagsUnknown &&
		(sameTags(in.Tags, other.Tags) || slices.Equal(in.Tags, other.Tags)) &&
		(sameMeta(in.Meta, other.Meta) || maps.Equal(in.Meta, other.Meta))
}

// sameTags and sameMeta report whether two values share their memory. Unchanged instances share it
// across successive snapshots, which makes comparing thousands of them cheap.
func sameTags(a, b []string) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func sameMeta(a, b map[string]string) bool {
	return reflect.ValueOf(a).UnsafePointer() == reflect.ValueOf(b).UnsafePointer()
}

// Compare orders instances by ID, the order of snapshots: it returns a negative number, zero or a
// positive number if the ID of in is less than, equal to or greater than that of other. Sort with
// slices.SortFunc(list, discovery.Instance.Compare).
func (in Instance) Compare(other Instance) int { return strings.Compare(in.ID, other.ID) }
