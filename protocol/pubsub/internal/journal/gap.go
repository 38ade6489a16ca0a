package journal

import (
	"fmt"
	"slices"
)

// Reason says why messages are missing.
type Reason uint8

// The reasons of gaps.
const (
	ReasonOverflow  Reason = 1 // the subscription's backlog was at its limit, or too old
	ReasonExpired   Reason = 2 // their TTL had passed
	ReasonConflated Reason = 3 // a newer message of the same topic and key took their place
	ReasonRetention Reason = 4 // they were no longer in the ring
	ReasonRestart   Reason = 5 // they belonged to an earlier epoch of the publisher
	ReasonDrained   Reason = 6 // the publisher ended before they could be delivered
	ReasonLost      Reason = 7 // they were on their way to a member of the group when that was lost
)

// Reasons is one more than the largest reason, for arrays with one place for each.
const Reasons = 8

var _ = [1]struct{}{}[Reasons-1-ReasonLost]

func (r Reason) String() string {
	switch r {
	case ReasonOverflow:
		return "overflow"
	case ReasonExpired:
		return "ttl"
	case ReasonConflated:
		return "conflated"
	case ReasonRetention:
		return "retention"
	case ReasonRestart:
		return "restart"
	case ReasonDrained:
		return "drained"
	case ReasonLost:
		return "lost"
	default:
		return fmt.Sprintf("reason %d", uint8(r))
	}
}

// Gap says that messages of a lane with numbers From to To, both included, are
// missing, Count of them being the subscription's; zero is an unknown number.
// Numbers in the range that are not among these Count were delivered, told by
// another gap, or are not the subscription's.
type Gap struct {
	Lane     int
	Reason   Reason
	From, To uint64
	Count    uint64
}

// gaps are what a lane has yet to tell, by From. Between two messages there is at
// most one for each reason, so there are not more than a few for each message.
type gaps []Gap

// add notes that messages are missing. after is the number of the message before
// them that is still to be delivered, zero if there is none: what is missing on the
// same side of it for the same reason becomes one gap.
func (g *gaps) add(n Gap, after uint64) {
	i := len(*g)
	for i > 0 && (*g)[i-1].From > n.From {
		i--
	}
	for j := i - 1; j >= 0 && (*g)[j].From > after; j-- {
		if (*g)[j].merge(n) {
			return
		}
	}
	*g = slices.Insert(*g, i, n)
}

// insert puts a gap in its place as it was told before.
func (g *gaps) insert(n Gap) {
	i := len(*g)
	for i > 0 && (*g)[i-1].From > n.From {
		i--
	}
	*g = slices.Insert(*g, i, n)
}

// merged returns all of two lists by From, in one pass, those of the first before those of the
// second.
func merged(a, b gaps) gaps {
	if len(b) == 0 {
		return a
	}
	all := make(gaps, 0, len(a)+len(b))
	for _, n := range b {
		for len(a) > 0 && a[0].From <= n.From {
			all, a = append(all, a[0]), a[1:]
		}
		all = append(all, n)
	}
	return append(all, a...)
}

// join is add where nothing is between gaps: those of one reason become one.
func (g *gaps) join(n Gap) {
	for i := range *g {
		if (*g)[i].merge(n) {
			return
		}
	}
	*g = append(*g, n)
}

func (g *Gap) merge(n Gap) bool {
	if g.Reason != n.Reason || g.From == 0 || n.From == 0 {
		return false
	}
	g.From, g.To = min(g.From, n.From), max(g.To, n.To)
	if g.Count == 0 || n.Count == 0 {
		g.Count = 0
	} else {
		g.Count += n.Count
	}
	return true
}

// pop removes the first gap.
func (g *gaps) pop() Gap {
	first := (*g)[0]
	*g = (*g)[:copy(*g, (*g)[1:])]
	return first
}
