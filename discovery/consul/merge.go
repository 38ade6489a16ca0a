package consul

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/linkmesh/link/discovery"
)

// suffixLen is the length of what tells instances of one ID apart: a dash and 8 hex digits.
const suffixLen = 9

// merge makes one list of those of several datacenters, the own one first. An entry that comes
// twice, as when the own datacenter was named as well, counts once. Of several entries with one ID,
// which nodes hold that do not know of each other, the oldest keeps it and the others get a suffix
// of their own: so none of them can push the others aside. left is how many there were beyond
// discovery.MaxInstances.
func merge(parts [][]member) (instances []discovery.Instance, left int) {
	n := 0
	for _, part := range parts {
		n += len(part)
	}
	all := make([]member, 0, n)
	for i, part := range parts {
		for _, m := range part {
			if i > 0 && holds(parts[:i], m) {
				continue
			}
			if len(all) == discovery.MaxInstances {
				left++
				continue
			}
			all = append(all, m)
		}
	}
	if len(parts) > 1 {
		slices.SortFunc(all, compareMembers)
	}
	for start := 0; start < len(all); {
		end := start + 1
		for end < len(all) && all[end].ID == all[start].ID {
			end++
		}
		if end-start > 1 {
			tellApart(all[start:end])
		}
		start = end
	}
	instances = make([]discovery.Instance, len(all))
	for i, m := range all {
		instances[i] = m.Instance
	}
	slices.SortFunc(instances, discovery.CompareID)
	return slices.CompactFunc(instances, func(a, b discovery.Instance) bool { return a.ID == b.ID }), left
}

func holds(parts [][]member, m member) bool {
	for _, part := range parts {
		if _, ok := slices.BinarySearchFunc(part, m, compareMembers); ok {
			return true
		}
	}
	return false
}

// tellApart renames all but the oldest of members that have one ID.
func tellApart(same []member) {
	first := 0
	for i, m := range same {
		if m.created < same[first].created {
			first = i
		}
	}
	for i := range same {
		if i == first {
			continue
		}
		sum := sha256.Sum256([]byte(same[i].dc + "\x00" + same[i].node))
		id := same[i].ID
		if len(id) > discovery.MaxID-suffixLen {
			id = id[:discovery.MaxID-suffixLen]
		}
		same[i].ID = strings.TrimRight(id, "._-") + "-" + hex.EncodeToString(sum[:4])
	}
}
