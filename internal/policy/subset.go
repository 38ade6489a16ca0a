package policy

import (
	"maps"
	"slices"
	"strings"

	"github.com/linkmesh/link/topology"
)

// compiled returns a copy of a subset with its name set and its tags sorted.
func compiled(s topology.Subset, name string) *topology.Subset {
	return &topology.Subset{Name: name, Tags: sortedSet(s.Tags), Meta: maps.Clone(s.Meta)}
}

// lacks says why an instance does not belong to s: "lacks tag v1".
func lacks(s *topology.Subset, tags []string, meta map[string]string) string {
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
