package consul

import (
	"slices"
	"strings"
	"time"

	"github.com/linkmesh/link/discovery"
)

// signs are what makes an answer doubtful.
type signs struct {
	backwards  bool // the index did
	leaderless bool // the server that answered knows no leader
	hidden     bool // access rules have or may have left something out
}

// keeper decides which answers about one service in one datacenter to believe. It belongs to one
// goroutine.
type keeper struct {
	known  []member  // the last believed answer
	at     time.Time // when known was answered; zero: nothing is known yet
	shaken bool      // the agent was unreachable since: it may have restarted with nothing
	doubt  time.Time // when illness last showed while something was missing; zero: no doubt
}

// verdict is what becomes of an answer.
type verdict struct {
	believed bool
	why      string        // if not
	recheck  time.Duration // until it may be believed; 0: time alone does not help
}

// judge decides about an answer that is sorted by ID. One that lacks nothing known is always
// believed.
func (k *keeper) judge(fresh []member, s signs, now time.Time) verdict {
	lost := k.lost(fresh)
	switch {
	case s.hidden:
		// No time makes visible what is hidden.
		return verdict{why: "Consul hides instances from this ACL token; it needs: " + readRule}
	case lost == 0:
		k.believe(fresh, now)
		return verdict{believed: true}
	case s.leaderless:
		k.doubt = now
		return verdict{why: "Consul has no leader, and instances are missing from its answer", recheck: DoubtTime}
	case s.backwards, k.doubt.IsZero() && k.shaken && 2*lost > len(k.known):
		k.doubt = now
	case k.doubt.IsZero(), now.Sub(k.doubt) >= DoubtTime:
		k.believe(fresh, now)
		return verdict{believed: true}
	}
	return verdict{
		why:     "Consul seems to have lost its state: instances are missing from its answer",
		recheck: DoubtTime - now.Sub(k.doubt),
	}
}

// shake notes that the agent could not be reached. What it says next may be that of a new one.
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

// with returns fresh and of the known instances those that it lacks, sorted.
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

// compareMembers orders by ID, then by where the entry is: its key in Consul.
func compareMembers(a, b member) int {
	if c := discovery.CompareID(a.Instance, b.Instance); c != 0 {
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
