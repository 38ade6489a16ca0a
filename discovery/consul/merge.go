package consul

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/bounds"
)

// suffixLen is the length of the suffix that distinguishes instances with one ID: a dash and 8 hex
// digits.
const suffixLen = 9

// merge merges the lists of several datacenters, with the agent's own first. It drops duplicate
// entries, which occur if Config names the agent's own datacenter too. Several nodes may hold entries
// with the same ID. The oldest keeps the ID and the others get a suffix, so that none can displace
// another. left is the number of entries beyond bounds.MaxInstances.
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
			if len(all) == bounds.MaxInstances {
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
	slices.SortFunc(instances, discovery.Instance.Compare)
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

// tellApart renames all but the oldest of the members, which have the same ID.
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
		if len(id) > bounds.MaxID-suffixLen {
			id = id[:bounds.MaxID-suffixLen]
		}
		same[i].ID = strings.TrimRight(id, "._-") + "-" + hex.EncodeToString(sum[:4])
	}
}
