package journal

import (
	"math"
	"slices"

	"github.com/linkmesh/link/internal/hash"
)

// choose returns a member that has room for a message, nil if the message has to wait. It is
// given the hash of the message's key, 0 if there is none.
func (g *group) choose(key uint32, avoid *Cursor) *Cursor {
	if key == 0 {
		return g.withCredit(avoid)
	}
	s := &g.slots[key%groupSlots]
	if s.holder == nil || s.out == 0 && s.joins != g.joins {
		s.holder, s.joins = g.rendezvous(key%groupSlots), g.joins
	}
	if s.holder == nil || s.holder.spare() <= -groupParked || !s.holder.holds() {
		return nil
	}
	return s.holder
}

// spare returns how many more messages a member can take: none if it is disconnected. It is
// negative if the member was given more than its credit.
func (c *Cursor) spare() int {
	n := min(c.credit, c.share.feed.limits.Messages)
	if c.window != nil {
		n = min(n, c.window.limits.Messages-c.window.list.n)
	}
	if c.detached != 0 {
		n = 0
	}
	return n - len(c.tasks)
}

// withCredit returns a member that has credit and room for one more task, nil if there is none.
// It takes the one with more credit of two drawn at random, so that each member gets its share.
// It returns avoid only if no other member can take the message.
func (g *group) withCredit(avoid *Cursor) *Cursor {
	n := len(g.members)
	i := g.draw(n)
	a, b := g.members[i], g.members[g.draw(n)]
	if b.spare() > a.spare() {
		a = b
	}
	if a != avoid && a.takes() {
		return a
	}
	for k := range n {
		if c := g.members[(i+k)%n]; c != avoid && c.takes() {
			return c
		}
	}
	if avoid != nil && slices.Contains(g.members, avoid) && avoid.takes() {
		return avoid
	}
	return nil
}

// takes reports whether a member has credit and room for one more task. It makes room if it may.
func (c *Cursor) takes() bool { return c.spare() > 0 && c.holds() }

// draw returns a number below n. Draws must be uniform, but need not be secret.
func (g *group) draw(n int) int {
	g.draws++
	return int(random(g.draws) % uint64(n))
}

// connected returns a connected member with room for a gap, nil if there is none. In that case
// every connected member has tasks to take, and comes for more.
func (g *group) connected() *Cursor {
	i := slices.IndexFunc(g.members, func(c *Cursor) bool { return c.detached == 0 && c.holds() })
	if i < 0 {
		return nil
	}
	return g.members[i]
}

// rendezvous returns the connected member that a slot belongs to: the one with the least
// -ln(u)/weight, where u is the member's own random number for the slot (Thaler and
// Ravishankar 1998, with weights as in Schindelhauer and Schomaker 2005). It returns nil if
// no member is connected.
func (g *group) rendezvous(slot uint32) *Cursor {
	var best *Cursor
	least := math.Inf(1)
	for _, c := range g.members {
		if c.detached != 0 {
			continue
		}
		u := (float64(random(c.number<<32|uint64(slot))>>11) + 0.5) / (1 << 53)
		if score := -math.Log(u) / float64(max(c.weight, 1)); score < least {
			best, least = c, score
		}
	}
	return best
}

// random returns the first number of SplitMix64 with a seed.
func random(seed uint64) uint64 { return hash.SplitMix(seed + hash.Golden) }
