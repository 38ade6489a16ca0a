package journal

import (
	"fmt"
	"sync"
	"time"

	pool "github.com/linkmesh/link/internal/share"
)

// Bounds of the dead letters that a subscription keeps until they are taken. Beyond
// them the oldest makes way, and is counted in [Stats].
const (
	MaxDeadLetters     = 1024
	MaxDeadLetterBytes = 8 << 20
)

// DeadLetter is a message that was given up.
type DeadLetter struct {
	Seq     uint64
	Time    time.Time // when it was published
	Message Message
	Reason  DeadReason
	History []Attempt // its deliveries, oldest first; the last MaxHistory
	Group   string    // the group that gave it up, "" if it was not a group
	Session string    // the session of its last subscriber, if that had one
	Who     pool.Key  // who that is

	size int // the size of the record
	cost int
}

// Attempt is one delivery that has failed.
type Attempt struct {
	Session string // the subscriber's, if it had one
	Sent    time.Time
	Ended   time.Time
	Outcome Outcome
	Cause   string // as the subscriber said
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
	DeadDeliveries DeadReason = 1 // it has failed as often as it may
	DeadExpired    DeadReason = 2 // its TTL has passed after a delivery that has failed
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
	holder  *pool.Holder // who pays; nil: nobody
}

// add takes a delivery over, with its record.
func (t *deadLetters) add(d *delivery, why DeadReason, group, session string, who pool.Key) {
	d.keep()
	var rec Record
	body, _, _ := cutBytes(d.record()[1:])
	rec.Priority = DefaultPriority
	rec.parse(body, uint64(d.clock)<<clockBits) // written by this log
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

// DeadLetters takes up to n dead letters of all subscriptions, and of those that have
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

// dying are the subscriptions that may have dead letters, so that nobody looks at others.
type dying struct {
	mu   sync.Mutex // after that of a share; guards the field below
	list []*share
}

func (t *dying) add(s *share) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = append(t.list, s)
}

// next takes the one that has waited longest, nil if there is none.
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

// DeadLetters takes up to n dead letters, oldest first, of the subscription; of a group,
// of all its members. [Cursor.Ready] receives when there is a new one.
func (c *Cursor) DeadLetters(n int) []DeadLetter {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dead.take(n)
}
