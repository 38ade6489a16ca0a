package journal

import (
	"fmt"
	"slices"
	"time"

	pool "github.com/linkmesh/link/internal/share"
)

// Subscription is what a subscriber asks for.
type Subscription struct {
	// Patterns has at least one and at most MaxPatterns patterns. A message that matches
	// several comes once.
	Patterns []string
	// Keys has the keys of the messages that the subscriber wants, at most MaxKeys and
	// MaxKeysBytes. Empty means all messages.
	Keys   []string
	Class  Class
	Limits Limits
	// Overflow is for BestEffort.
	Overflow Overflow
	Start    Start
	// Again has the numbers of messages from before the position of [StartAt] that come once
	// more: those that an AtLeastOnce subscriber has not acked. The ranges ascend. There are at
	// most MaxAgain ranges, with at most Limits.Messages messages, or [MaxAgain] if that is more.
	Again []Range

	// Group is the name of the group that the subscriber is a member of; empty means none.
	// Subscriptions are of one group if name, patterns, keys and class are the same. The
	// class is BestEffort or AtLeastOnce. Limits, overflow and start are those of the first
	// member.
	Group string
	// Credit is how many messages the member takes until [Cursor.AddCredit] adds to it;
	// zero means [DefaultMemberCredit].
	Credit int

	// ID is the name of the session of an AtLeastOnce subscription, unique in the log;
	// empty means no session. See [Cursor.Detach].
	ID string
	// Kept is how long the session waits for its subscriber; zero means [SessionKept].
	Kept time.Duration
	// Holder is who has the session. While the holder is connected, nobody else can resume
	// the session.
	Holder string
	// Ended is called when the session has ended. It must not block or call the log.
	Ended func()

	// Who pays for unacked messages and the backlog of the subscriber; see [Options].
	Who pool.Key

	// Lease is how long a message may go without an ack or an extension before it is
	// delivered again; zero means [DefaultLease].
	Lease time.Duration
	// Backoff is how long after its first, second, … failure a message is delivered again.
	// The last value stands for all later failures. Empty means [DefaultBackoff].
	Backoff []time.Duration
	// Deliveries is how often a message may fail before it is a dead letter, at most
	// [MaxDeliveries]; zero means [DefaultMaxDeliveries]. See [Log.Resume].
	Deliveries int
}

// MaxDeliveries is the most that Subscription.Deliveries can be.
const MaxDeliveries = 100

// MaxHistory is how many deliveries of a message are remembered. They are the last ones.
const MaxHistory = 16

// maxBackoffs is the most steps that a backoff may have.
const maxBackoffs = 32

// DefaultBackoff returns 1 s, 5 s, 30 s, 2 min.
func DefaultBackoff() []time.Duration {
	return []time.Duration{time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute}
}

// resolve checks the subscription and fills in defaults.
func (s *Subscription) resolve() error {
	if len(s.Patterns) == 0 {
		return &OptionError{"Subscription.Patterns", "", "is empty"}
	}
	for _, err := range []error{
		atMost("Subscription.Patterns", len(s.Patterns), MaxPatterns),
		atMost("Subscription.Keys", len(s.Keys), MaxKeys),
		atMost("bytes of Subscription.Group", len(s.Group), MaxName),
		atMost("bytes of Subscription.ID", len(s.ID), MaxName),
		atMost("Subscription.Credit", s.Credit, MaxCredit),
		atMost("Subscription.Deliveries", s.Deliveries, MaxDeliveries),
		atMost("Subscription.Backoff", len(s.Backoff), maxBackoffs),
	} {
		if err != nil {
			return err
		}
	}
	for _, p := range s.Patterns {
		if err := checkPattern(p); err != nil {
			return err
		}
	}
	size := 0
	for _, k := range s.Keys {
		if err := atMost("bytes of a key in Subscription.Keys", len(k), MaxKey); err != nil {
			return err
		}
		size += len(k)
	}
	if err := atMost("bytes of Subscription.Keys", size, MaxKeysBytes); err != nil {
		return err
	}
	var err error
	if s.Limits, err = s.Limits.resolved(s.Class); err != nil {
		return err
	}
	switch {
	case s.Overflow > DropNewest:
		return &OptionError{"Subscription.Overflow", uint8(s.Overflow), "is unknown"}
	case s.Group != "" && s.Class != BestEffort && s.Class != AtLeastOnce:
		return &OptionError{"Subscription.Class", s.Class, "cannot be that of a group; best effort and at least once can"}
	case s.ID != "" && s.Class != AtLeastOnce:
		return &OptionError{"Subscription.ID", s.ID, "is only for at least once: other classes resume with StartAt"}
	case s.Lease < 0 || s.Kept < 0 || s.Deliveries < 0 || s.Credit < 0:
		return &OptionError{"Subscription.Lease, Deliveries or Credit", "", "is negative"}
	case slices.ContainsFunc(s.Backoff, func(d time.Duration) bool { return d < 0 }):
		return &OptionError{"Subscription.Backoff", s.Backoff, "is negative"}
	}
	if s.Kept == 0 {
		s.Kept = SessionKept
	}
	if s.Lease == 0 {
		s.Lease = DefaultLease
	}
	if s.Deliveries == 0 {
		s.Deliveries = DefaultMaxDeliveries
	}
	if len(s.Backoff) == 0 {
		s.Backoff = DefaultBackoff()
	}
	if s.Credit == 0 {
		s.Credit = DefaultMemberCredit
	}
	s.Patterns = slices.Compact(slices.Sorted(slices.Values(s.Patterns)))
	s.Keys = slices.Compact(slices.Sorted(slices.Values(s.Keys)))
	s.Backoff = slices.Clone(s.Backoff)
	return nil
}

// groupKey returns a string that is the same for all members of a group. Keys may hold any
// bytes, so each part comes with its length.
func (s *Subscription) groupKey() string {
	var key []byte
	for _, part := range slices.Concat([]string{s.Group, s.Class.String()}, s.Patterns, []string{""}, s.Keys) {
		key = fmt.Appendf(key, "%d %s", len(part), part)
	}
	return string(key)
}

// Validate returns the error that [Log.Subscribe] would return for the subscription itself.
func (s *Subscription) Validate() error {
	copied := *s
	return copied.resolve()
}
