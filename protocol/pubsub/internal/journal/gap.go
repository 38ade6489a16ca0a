package journal

import "fmt"

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

	exact bool // it was to come again: it becomes part of no other that says less which
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
