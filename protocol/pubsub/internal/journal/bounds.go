package journal

import "time"

// Bounds of a message. A message that exceeds one is refused with a [*LimitError].
const (
	// MaxKey is the most bytes of a key. An entry of the ring has their number in a byte.
	MaxKey = 255
	// MaxPairs is the most headers, and also the most trace pairs.
	MaxPairs = 64
	// MaxPairBytes is the most bytes of all names and values of the headers. It bounds the
	// trace pairs separately.
	MaxPairBytes = 16 << 10
)

// Defaults of [Options].
const (
	DefaultBytes      = 64 << 20
	DefaultAge        = 5 * time.Minute
	DefaultMaxMessage = 4 << 20
	DefaultUnacked    = 8 * DefaultBytes
	DefaultBacklog    = 256 << 20
)

// Bounds of a log.
const (
	// MaxTopics is the most topics that have a number at a time. Another topic takes over
	// the number of one that was not published to for a while.
	MaxTopics = 16384
	// MaxSubscriptions is the most subscriptions and groups of a log.
	MaxSubscriptions = 65536
	// MaxSessions is the most sessions that a log keeps, connected or not.
	MaxSessions = 4096
	// matchBudget is how many matches of topics with subscriptions a log remembers.
	matchBudget = 1 << 20
)

// Bounds of a subscription. A subscription that exceeds one is refused with a [*LimitError].
const (
	MaxPatterns = 64
	MaxKeys     = 1024
	// MaxKeysBytes is the most bytes of all keys of a subscription, which it sends in one frame.
	MaxKeysBytes = 128 << 10
	// MaxMembers is the most members of a group.
	MaxMembers = 1024
	// MaxCredit is the most credit of a member of a group, in messages.
	MaxCredit = 1 << 20
	// MaxName is the most bytes of the name of a group, and of the ID of a session.
	MaxName = 256
	// MaxAgain is the most ranges of Subscription.Again, and the most messages in them
	// unless Limits.Messages is more.
	MaxAgain = 4096
)

// Defaults and bounds of [Limits], and defaults of [Subscription].
const (
	// DefaultMessages, DefaultBacklogBytes and DefaultBacklogAge are for BestEffort.
	DefaultMessages     = 1024
	DefaultBacklogBytes = 8 << 20
	DefaultBacklogAge   = 10 * time.Second
	// DefaultLatestKeys is the default for Latest, and the most.
	DefaultLatestKeys = 65536
	// DefaultWindow is how many messages of AtLeastOnce wait for their acks, and
	// DefaultWindowBytes how many bytes.
	DefaultWindow      = 1000
	DefaultWindowBytes = 8 << 20
	// MaxWindowBytes is the most that Limits.Bytes can be for AtLeastOnce: unacked messages
	// are kept beside the ring.
	MaxWindowBytes      = DefaultBytes
	DefaultMemberCredit = 1024
	// MaxBacklog is the most that Limits.Messages can be, and MaxWindow for AtLeastOnce.
	MaxBacklog           = 1 << 20
	MaxWindow            = 1 << 16
	DefaultLease         = 30 * time.Second
	DefaultMaxDeliveries = 5
)

// unackedFloor is what each Subscription.Who may have of Options.Unacked, as long as it is free:
// this or an eighth of the option, whichever is less.
const unackedFloor = DefaultWindowBytes

// backlogFloor is the same for Options.Backlog: one backlog of MaxBacklog messages, or an eighth.
const backlogFloor int64 = MaxBacklog * int64(numberCost)

const (
	// liveQueue is how many messages a Reliable or AtLeastOnce subscription queues before it
	// reads the ring instead.
	liveQueue = 4096
	// scanBudget is how many entries of the ring one Fill looks at.
	scanBudget = 4096
	// lockedMessages and lockedBytes are about how much one Fill copies before it lets
	// publishers have the lock. For messages that lie side by side only the bytes count.
	lockedMessages = 16
	lockedBytes    = 16 << 10
	// markEvery is how many sequence numbers may go to other subscriptions before an idle
	// subscriber is told how far it has come.
	markEvery = 4096
)
