package topology

import (
	"maps"
	"slices"
)

// Subset is a group of instances: those that have all of Tags and all of Meta. It needs at least
// one tag or pair, and has at most 64 of both together.
type Subset struct {
	// Name is the key in Service.Subsets. It is filled in when a document takes effect; in a document it must be empty.
	Name string

	// Tags are 1 to 255 bytes long, without spaces.
	Tags []string
	Meta map[string]string
}

// Matches reports whether an instance with the given tags, which must be sorted, and metadata
// belongs to s. Every instance belongs to the nil Subset. It allocates nothing.
func (s *Subset) Matches(tags []string, meta map[string]string) bool {
	if s == nil {
		return true
	}
	for _, tag := range s.Tags {
		if _, ok := slices.BinarySearch(tags, tag); !ok {
			return false
		}
	}
	for key, value := range s.Meta {
		if have, ok := meta[key]; !ok || have != value {
			return false
		}
	}
	return true
}

// Equal reports whether s and o have the same name and match the same instances. The order of the
// tags does not matter. A reload uses it to keep the state of unchanged subsets.
func (s *Subset) Equal(o *Subset) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s.Name == o.Name && slices.Equal(sortedSet(s.Tags), sortedSet(o.Tags)) && maps.Equal(s.Meta, o.Meta)
}

func sortedSet(list []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(list)))
}
