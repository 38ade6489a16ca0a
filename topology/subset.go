package topology

import (
	"maps"
	"slices"
	"strings"
)

// Subset is a group of instances: those that have all of Tags and all of Meta. It needs at least
// one tag or pair, and has at most MaxPairs of both together.
type Subset struct {
	// Name is the key in Service.Subsets. Compile fills it in; in a document it must be empty.
	Name string

	// Tags are 1 to MaxName bytes long, without spaces.
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

// compiled returns a copy with its name set and its tags sorted.
func (s *Subset) compiled(name string) *Subset {
	return &Subset{Name: name, Tags: sortedSet(s.Tags), Meta: maps.Clone(s.Meta)}
}

// lacks says why an instance does not belong to s: "lacks tag v1".
func (s *Subset) lacks(tags []string, meta map[string]string) string {
	var lacks []string
	for _, tag := range s.Tags {
		if !slices.Contains(tags, tag) {
			lacks = append(lacks, "tag "+tag)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.Meta)) {
		if have, ok := meta[key]; !ok || have != s.Meta[key] {
			lacks = append(lacks, "meta "+key+"="+s.Meta[key])
		}
	}
	return "lacks " + strings.Join(lacks, " and ")
}

func sortedSet(list []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(list)))
}
