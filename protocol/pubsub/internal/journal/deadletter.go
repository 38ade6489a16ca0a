package journal

import (
	"fmt"
	"sync"
	"time"

	pool "github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/internal/varint"
)

// Bounds of the dead letters that a subscription keeps until they are taken. Beyond them
// the oldest is dropped, which [Stats] counts.
const (
	MaxDeadLetters     = 1024
	MaxDeadLetterBytes = 8 << 20
)

// DeadLetter is a message that was given up.
type DeadLetter struct {
	Seq uint64
	// Time is when the message was published.
	Time    time.Time
	Message Message
	Reason  DeadReason
	// History has the last MaxHistory deliveries of the message, oldest first.
	History []Attempt
	// Group is the name of the group that gave the message up, empty if it was not a group.
	Group string
	// Session is the session of the last subscriber, empty if it had none.
	Session string
	// Who is the identity of the last subscriber.
	Who pool.Key

	// size is the size of the record.
	size int
	cost int
}

// Attempt is one delivery that has failed.
type Attempt struct {
	// Session is the subscriber's session, empty if it had none.
	Session string
	Sent    time.Time
	Ended   time.Time
	Outcome Outcome
	// Cause is what the subscriber gave as the cause of a nack.
	Cause string
}

// Outcome is how a delivery has failed.
type Outcome uint8

// The outcomes.
const (
	Nacked       Outcome = 1
	LeaseEnded   Outcome = 2
	Disconnected Outcome = 3
)

func (o Outcome) String() string {
	switch o {
	case Nacked:
		return "nacked"
	case LeaseEnded:
		return "lease ended"
	case Disconnected:
		return "disconnected"
	default:
		return fmt.Sprintf("outcome %d", uint8(o))
	}
}

// DeadReason is why a message was given up.
type DeadReason uint8

// The reasons.
const (
	// DeadDeliveries means that the message has failed as often as it may.
	DeadDeliveries DeadReason = 1
	// DeadExpired means that the TTL of the message has passed after a failed delivery.
	DeadExpired DeadReason = 2
)

func (r DeadReason) String() string {
	switch r {
	case DeadDeliveries:
		return "too many deliveries"
	case DeadExpired:
		return "expired"
	default:
		return fmt.Sprintf("reason %d", uint8(r))
	}
}

// deadLetters is a bounded list, oldest first.
type deadLetters struct {
	list    []DeadLetter
	bytes   int
	total   uint64
	dropped uint64
	// holder pays for the dead letters; if it is nil, they are not counted.
	holder *pool.Holder
}

// add takes over a delivery and its record.
func (t *deadLetters) add(d *delivery, why DeadReason, group, session string, who pool.Key) {
	d.keep()
	var rec Record
	body, _, _ := varint.CutBytes(d.record()[1:])
	rec.Priority = DefaultPriority
	// This log has written the record, so that it is well-formed.
	rec.parse(body, uint64(d.clock)<<clockBits)
	n := DeadLetter{
		Seq: d.seq, Time: rec.Time, Reason: why, History: d.history, Group: group, Session: session, Who: who, size: int(d.size), cost: d.cost(),
		Message: Message{
			Topic: d.topic.name, Key: string(rec.Key), Headers: rec.Headers.copied(), Trace: rec.Trace.copied(),
			Payload: rec.Payload, TTL: rec.TTL, Priority: rec.Priority, Feed: rec.Feed,
		},
	}
	t.keep(n)
	t.total++
}

func (t *deadLetters) keep(n DeadLetter) {
	t.list = append(t.list, n)
	t.bytes += n.size
	if t.holder != nil {
		t.holder.Add(int64(n.cost))
	}
	for len(t.list) > MaxDeadLetters || t.bytes > MaxDeadLetterBytes && len(t.list) > 1 {
		t.take(1)
		t.dropped++
	}
}

func (t *deadLetters) take(n int) []DeadLetter {
	n = max(min(n, len(t.list)), 0)
	taken := append([]DeadLetter(nil), t.list[:n]...)
	clear(t.list[:n])
	t.list = t.list[n:]
	for i := range taken {
		t.bytes -= taken[i].size
		if t.holder != nil {
			t.holder.Give(int64(taken[i].cost))
		}
	}
	return taken
}

// DeadLetters takes up to n dead letters of all subscriptions, including those that have
// ended.
func (l *Log) DeadLetters(n int) []DeadLetter {
	l.mu.Lock()
	taken := l.dead.take(n)
	l.mu.Unlock()
	for len(taken) < n {
		s := l.dying.next()
		if s == nil {
			break
		}
		s.mu.Lock()
		taken = append(taken, s.dead.take(n-len(taken))...)
		if len(s.dead.list) > 0 {
			l.dying.add(s)
		}
		s.mu.Unlock()
	}
	return taken
}

// dying lists the subscriptions that may have dead letters, so that the others need not be
// looked at.
type dying struct {
	// mu guards list. It may be taken while the lock of a share is held.
	mu   sync.Mutex
	list []*share
}

func (t *dying) add(s *share) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = append(t.list, s)
}

// next takes the subscription that has waited longest, nil if there is none.
func (t *dying) next() *share {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.list) == 0 {
		t.list = nil
		return nil
	}
	s := t.list[0]
	t.list[0] = nil
	t.list = t.list[1:]
	return s
}

// DeadLetters takes up to n dead letters of the subscription, oldest first. For a member of
// a group, they are those of all members. [Cursor.Ready] receives when there is a new one.
func (c *Cursor) DeadLetters(n int) []DeadLetter {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dead.take(n)
}
