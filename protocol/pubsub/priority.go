package pubsub

import "github.com/linkmesh/link/protocol/pubsub/internal/journal"

const (
	// maxPriority is the highest priority; 0 is the lowest.
	maxPriority = 9
	// defaultPriority is the priority of messages without [Priority].
	defaultPriority = 4
)

// priorities has for each priority the number that stands for it in the log and on the
// wire, and the least number that is read as it. Each number is in the lane that [Priority]
// says: 192 and above is high, below 64 is low.
var priorities = [maxPriority + 1]struct{ number, least uint8 }{ //nolint:gochecknoglobals // a constant
	{16, 1},
	{32, 24},
	{48, 40},
	{96, 64},
	{journal.DefaultPriority, 112},
	{144, 136},
	{160, 152},
	{200, 192},
	{216, 208},
	{232, 224},
}

// priorityOf returns the priority that a number stands for. Peers may send any number.
func priorityOf(number uint8) uint8 {
	if number == journal.DefaultPriority {
		return defaultPriority
	}
	p := uint8(maxPriority)
	for p > 0 && number < priorities[p].least {
		p--
	}
	return p
}
