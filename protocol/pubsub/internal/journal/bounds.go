package journal

import "time"

// Bounds of a message. A message beyond one is refused with a [*LimitError].
const (
	MaxKey       = 128      // bytes of a key
	MaxPairs     = 64       // headers, and as many trace pairs
	MaxPairBytes = 16 << 10 // bytes of all names and values of headers, and as many of trace pairs
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
	// MaxTopics is how many topics have a number at a time. One more takes over the
	// number of one not published to for a while.
	MaxTopics = 16384
	// MaxSubscriptions is how many subscriptions and groups a log has.
	MaxSubscriptions = 65536
	// MaxSessions is how many sessions a log keeps, connected or not.
	MaxSessions = 4096
	// matchBudget is how many matches of topics with subscriptions a log remembers.
	matchBudget = 1 << 20
)

// Bounds of a subscription. One beyond them is refused with a [*LimitError].
const (
	MaxPatterns = 64
	MaxKeys     = 1024
	MaxMembers  = 1024    // how many members a group may have
	MaxCredit   = 1 << 20 // messages that a member of a group may be trusted with
	MaxName     = 256     // bytes of the name of a group, of a session's id
	MaxAgain    = 4096    // ranges of Subscription.Again, and messages if Limits.Messages is less
)

// Defaults of [Limits].
const (
	DefaultMessages      = 1024 // BestEffort
	DefaultBacklogBytes  = 8 << 20
	DefaultBacklogAge    = 10 * time.Second
	DefaultLatestKeys    = 65536 // Latest; also the most
	DefaultWindow        = 1000  // AtLeastOnce: messages that wait for their ack
	DefaultWindowBytes   = 8 << 20
	MaxWindowBytes       = DefaultBytes // the most: what waits for acks is kept beside the ring
	DefaultMemberCredit  = 1024
	MaxBacklog           = 1 << 20 // the most that Limits.Messages can be
	MaxWindow            = 1 << 16 // the most of AtLeastOnce
	DefaultLease         = 30 * time.Second
	DefaultMaxDeliveries = 5
)

// unackedFloor is what each identity may have of Options.Unacked, as long as it is free.
const unackedFloor = DefaultWindowBytes

// backlogFloor is the same of Options.Backlog: one backlog of MaxBacklog messages.
const backlogFloor int64 = MaxBacklog * int64(numberCost)

const (
	// liveQueue is how many messages a Reliable or AtLeastOnce subscription has queued
	// before it goes on by reading the ring.
	liveQueue = 4096
	// scanBudget is how many entries of the ring one Fill looks at.
	scanBudget = 4096
	// lockedMessages and lockedBytes are about what one Fill copies before it lets
	// publishers have the lock. Of messages that lie side by side only the bytes count.
	lockedMessages = 16
	lockedBytes    = 16 << 10
	// markEvery is after how many sequence numbers of other subscriptions an idle
	// subscriber is told how far it has come.
	markEvery = 4096
)
