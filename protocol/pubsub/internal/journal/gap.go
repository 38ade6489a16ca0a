package journal

import "fmt"

// Reason says why messages are missing.
type Reason uint8

// The reasons of gaps.
const (
	// ReasonOverflow means that the subscription's backlog was at its limit, or too old.
	ReasonOverflow Reason = 1
	// ReasonExpired means that their TTL had passed.
	ReasonExpired Reason = 2
	// ReasonConflated means that a newer message of the same topic and key replaced each.
	ReasonConflated Reason = 3
	// ReasonRetention means that they were no longer in the ring.
	ReasonRetention Reason = 4
	// ReasonRestart means that they belonged to an earlier epoch of the publisher.
	ReasonRestart Reason = 5
	// ReasonDrained means that the publisher ended before they could be delivered.
	ReasonDrained Reason = 6
	// ReasonLost means that they were in flight to a member of the group that was lost.
	ReasonLost Reason = 7
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

// Gap says that messages of a lane with numbers From to To, both included, are missing.
// Count is how many of them are the subscription's; zero means an unknown number. The other
// numbers in the range were delivered, are told by another gap, or are not the
// subscription's.
type Gap struct {
	Lane     int
	Reason   Reason
	From, To uint64
	Count    uint64

	// exact is set for messages that were to come again. An exact gap is not merged into one
	// that is less precise about the numbers.
	exact bool
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
