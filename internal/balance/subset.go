package balance

import (
	"cmp"
	"slices"

	"github.com/linkmesh/link/internal/hash"
)

// ranked is a member and its rank for this client.
type ranked[T any] struct {
	endpoint *Endpoint[T]
	rank     uint64
}

// rankLocked returns e with its rank for this client, by rendezvous hashing (Thaler
// and Ravishankar, 1998): a client keeps the members with the highest ranks. The rank
// depends on the client and the key alone, so that clients spread evenly over the
// instances, and keep their members while others come and go.
func (g *Group[T]) rankLocked(e *Endpoint[T]) ranked[T] {
	return ranked[T]{e, hash.SplitMix(hashOf(e.key) ^ g.seed)}
}

// before compares two members for sorting, the higher rank first.
func before[T any](a, b ranked[T]) int {
	if a.rank != b.rank {
		return cmp.Compare(b.rank, a.rank)
	}
	return cmp.Compare(a.endpoint.key, b.endpoint.key)
}

// quotaLocked returns how many members of each part are kept: a third of the subset is
// from other zones, so that there are connections to them when the client's zone fails.
// If one part is too small, the other fills the subset.
func (g *Group[T]) quotaLocked() [2]int {
	k, local, others := g.options.Subset, g.base[0].len(), g.base[1].len()
	far := min(k/3, others)
	near := min(k-far, local)
	return [2]int{near, min(k-near, others)}
}

// selectLocked updates the subset. It does nothing unless a kept member left, a new one was
// not compared with the kept ones, or the group grew or shrank across a bound; then it ranks
// all members.
func (g *Group[T]) selectLocked() {
	k := g.options.Subset
	g.subset = g.options.Policy != Hash && k > 0 && g.lenLocked() > max(k, SubsetAbove)
	if !g.subset {
		for i := range g.kept {
			if g.kept[i].len() > 0 {
				g.kept[i].clear()
			}
		}
		return
	}
	for i, want := range g.quotaLocked() {
		if g.kept[i].len() != want || g.unranked[i] {
			g.keepLocked(i, g.bestLocked(i, want))
			g.unranked[i] = false
		}
	}
}

// bestLocked returns the n members of a part that rank highest.
func (g *Group[T]) bestLocked(part, n int) []ranked[T] {
	best := make([]ranked[T], 0, n+1)
	for i := range g.base[part].len() {
		r := g.rankLocked(*g.base[part].endpoints.at(i))
		if len(best) == n && (n == 0 || before(best[n-1], r) < 0) {
			continue
		}
		at, _ := slices.BinarySearchFunc(best, r, before[T])
		best = slices.Insert(best, at, r)
		best = best[:min(len(best), n)]
	}
	return best
}

// keepLocked makes best the kept members of a part.
func (g *Group[T]) keepLocked(part int, best []ranked[T]) {
	kept := &g.kept[part]
	stay := make(map[*load]bool, len(best))
	for _, r := range best {
		stay[r.endpoint.load] = true
	}
	for i := kept.len() - 1; i >= 0; i-- {
		if l := kept.slots.at(i).load; !stay[l] {
			kept.remove(l, g.ward.standingLocked(l))
		}
	}
	for _, r := range best {
		if !kept.has(r.endpoint.load) {
			kept.add(r.endpoint, g.ward.standingLocked(r.endpoint.load))
		}
	}
}

// considerLocked keeps a new member in place of the kept one with the lowest rank, if
// it ranks higher. If the number of kept members differs from the quota, it leaves the
// work to selectLocked, which then ranks all members, even if the quota fits by then.
func (g *Group[T]) considerLocked(part int, e *Endpoint[T]) {
	kept := &g.kept[part]
	if quota := g.quotaLocked()[part]; kept.len() != quota || quota == 0 {
		g.unranked[part] = g.unranked[part] || quota > 0
		return
	}
	worst := g.rankLocked(*kept.endpoints.at(0))
	for i := 1; i < kept.len(); i++ {
		if r := g.rankLocked(*kept.endpoints.at(i)); before(worst, r) < 0 {
			worst = r
		}
	}
	if before(g.rankLocked(e), worst) < 0 {
		kept.remove(worst.endpoint.load, g.ward.standingLocked(worst.endpoint.load))
		kept.add(e, g.ward.standingLocked(e.load))
	}
}
