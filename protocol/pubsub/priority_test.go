package pubsub

import (
	"testing"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestANumberStandsForAPriorityOfItsLane checks every number that a peer may send: the priority
// that it is read as is in the same lane, and grows with the number.
func TestANumberStandsForAPriorityOfItsLane(t *testing.T) {
	const high, normal, low = 0, 1, 2
	lanes := [maxPriority + 1]int{low, low, low, normal, normal, normal, normal, high, high, high}
	before := uint8(0)
	for n := 1; n <= 255; n++ {
		number := uint8(n)
		p := priorityOf(number)
		if p > maxPriority || lanes[p] != journal.LaneOf(number) {
			t.Errorf("number %d is priority %d, and is in lane %d", number, p, journal.LaneOf(number))
		}
		if p < before || p > before+1 {
			t.Errorf("number %d is priority %d, and number %d is priority %d", number, p, number-1, before)
		}
		before = p
	}
	if before != maxPriority {
		t.Errorf("number 255 is priority %d", before)
	}
}

// TestAPriorityArrivesAsItWasSent checks that the number of each priority stands for that
// priority, and that the default is the number that messages need not carry.
func TestAPriorityArrivesAsItWasSent(t *testing.T) {
	for p := range priorities {
		if got := priorityOf(priorities[p].number); int(got) != p {
			t.Errorf("priority %d is sent as %d, which is read as %d", p, priorities[p].number, got)
		}
	}
	if n := priorities[defaultPriority].number; n != journal.DefaultPriority {
		t.Errorf("the default priority is sent as %d, want %d", n, journal.DefaultPriority)
	}
}
