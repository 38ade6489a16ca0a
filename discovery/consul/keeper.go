package consul

import (
	"slices"
	"strings"
	"time"

	"github.com/linkmesh/link/discovery"
)

// signs are the properties that make an answer doubtful.
type signs struct {
	// backwards means that the index went backwards.
	backwards bool

	// leaderless means that the server that answered knows no leader.
	leaderless bool

	// hidden means that ACLs have filtered the answer, or may have.
	hidden bool
}

// keeper decides which answers about one service in one datacenter to believe. It belongs to one
// goroutine.
type keeper struct {
	// known is the last believed answer and at its time. at is zero if nothing is known yet.
	known []member
	at    time.Time

	// shaken means that the agent was unreachable since: it may have restarted without its state.
	shaken bool

	// doubt is when Consul last showed a sign of failure while instances were missing. It is zero if
	// there is no doubt.
	doubt time.Time
}

// verdict is the decision about an answer.
type verdict struct {
	believed bool

	// why says why the answer is not believed.
	why string

	// recheck is the time until the answer may be believed. 0 means that waiting does not help.
	recheck time.Duration
}

// judge decides about an answer that is sorted by ID. An answer that lacks no known instance and
// hides none is always believed.
func (k *keeper) judge(fresh []member, s signs, now time.Time) verdict {
	lost := k.lost(fresh)
	switch {
	case s.hidden:
		// Waiting does not make hidden instances visible.
		return verdict{why: "Consul hides instances from this ACL token; it needs: " + readRule}
	case lost == 0:
		k.believe(fresh, now)
		return verdict{believed: true}
	case s.leaderless:
		k.doubt = now
		return verdict{why: "Consul has no leader, and instances are missing from its answer", recheck: doubtTime}
	case s.backwards, k.doubt.IsZero() && k.shaken && 2*lost > len(k.known):
		k.doubt = now
	case k.doubt.IsZero(), now.Sub(k.doubt) >= doubtTime:
		k.believe(fresh, now)
		return verdict{believed: true}
	}
	return verdict{
		why:     "Consul seems to have lost its state: instances are missing from its answer",
		recheck: doubtTime - now.Sub(k.doubt),
	}
}

// shake records that the agent could not be reached. Its next answer may come from a new agent.
func (k *keeper) shake(now time.Time) {
	k.shaken = true
	if !k.doubt.IsZero() {
		k.doubt = now
	}
}

func (k *keeper) believe(fresh []member, now time.Time) {
	k.known, k.at, k.shaken, k.doubt = fresh, now, false, time.Time{}
}

// lost counts the known instances that fresh lacks. Both are sorted.
func (k *keeper) lost(fresh []member) int {
	n := 0
	for _, m := range k.known {
		if _, ok := slices.BinarySearchFunc(fresh, m, compareMembers); !ok {
			n++
		}
	}
	return n
}

// mostLost reports whether fresh lacks more than half of the known instances.
func (k *keeper) mostLost(fresh []member) bool { return 2*k.lost(fresh) > len(k.known) }

// with returns fresh plus the known instances that it lacks, sorted.
func (k *keeper) with(fresh []member) []member {
	all := slices.Clone(fresh)
	for _, m := range k.known {
		if _, ok := slices.BinarySearchFunc(fresh, m, compareMembers); !ok {
			all = append(all, m)
		}
	}
	slices.SortFunc(all, compareMembers)
	return all
}

// compareMembers orders by ID, then by datacenter and node: together the key of an entry in Consul.
func compareMembers(a, b member) int {
	if c := discovery.Instance.Compare(a.Instance, b.Instance); c != 0 {
		return c
	}
	if c := strings.Compare(a.dc, b.dc); c != 0 {
		return c
	}
	return strings.Compare(a.node, b.node)
}

func sameMembers(a, b []member) bool {
	return slices.EqualFunc(a, b, func(x, y member) bool {
		return x.node == y.node && x.dc == y.dc && x.Equal(y.Instance)
	})
}
