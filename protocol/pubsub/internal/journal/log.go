package journal

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	pool "github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

// Options of a [Log].
type Options struct {
	// Epoch distinguishes this log from earlier ones of the publisher. It should be random.
	Epoch uint64
	// Bytes and Age bound what the ring keeps. Zero means [DefaultBytes] and [DefaultAge].
	// Messages leave the ring by whichever comes first; the newest one stays, unless there is
	// neither a history nor a subscription.
	Bytes int
	Age   time.Duration
	// Unacked bounds the memory of messages that wait for acks: their records, and for each
	// about 300 bytes and the history of its deliveries. Each Subscription.Who may have as
	// much as it leaves free. Beyond that, a subscription gets a message only when none of
	// its own waits for an ack. Zero means [DefaultUnacked].
	Unacked int
	// Backlog bounds the memory of subscriptions that are behind: 8 bytes for each message, 32
	// for one of a member of a group, and about 64 for each key of Latest, beyond the first
	// 8 KiB of each list. Each Subscription.Who may have as much as it leaves free. Beyond that,
	// BestEffort and Latest drop messages, other classes read the ring, and a group keeps what
	// a member has no room for. Zero means [DefaultBacklog].
	Backlog int
	// NoHistory keeps only messages that a subscription asked for when they were published.
	// A message that nobody asked for is not encoded, and a subscription that starts before
	// it is told of a gap.
	NoHistory bool
	// MaxMessage bounds the record of a message, which has about 50 bytes more than its
	// payload, key and headers. Zero means [DefaultMaxMessage].
	MaxMessage int
}

// Log holds the messages of a publisher in the order of their numbers, and its
// subscriptions. All methods are safe for concurrent use.
//
// The times that methods are given should come from one clock that does not step
// back, such as time.Now of one process.
type Log struct {
	opts Options
	origin
	settled atomic.Uint64
	// written is a copy of ring.written that needs no lock.
	written atomic.Uint64
	ring    ring
	index   subject.Index[*share]
	// hole is the slab of messages whose records were not kept.
	hole *slab

	// unacked counts the memory of windows, and of what waits beside them.
	unacked *pool.Pool
	dying   dying
	// throttled counts how often a window waited for room in Options.Unacked.
	throttled atomic.Uint64
	// backlogs counts the memory of backlogs.
	backlogs *pool.Pool
	// crowded counts how often a backlog had no more room in Options.Backlog.
	crowded atomic.Uint64

	// mu guards the fields below, and all writes to ring.
	mu     sync.Mutex
	topics topics
	readers
	// dead has the dead letters of subscriptions that have ended.
	dead deadLetters
	// round counts the searches for matches, whose results are in found.
	round uint64
	found []*share
	// clock is the latest time that a publisher gave.
	clock int64
	// sealed is set when Append takes nothing more.
	sealed bool
}

// origin is when a log began.
type origin struct {
	base time.Time
	// micros is base in microseconds since 1970.
	micros int64
}

// readers are the subscriptions of a log.
type readers struct {
	shares map[*share]struct{}
	groups map[string]*share
	// leased has the shares of AtLeastOnce.
	leased   map[*share]struct{}
	sessions map[string]*Cursor
}

// ErrTooLarge is what [Log.Append] wraps when a record is larger than Options.MaxMessage.
var ErrTooLarge = errors.New("the message is too large")

// New returns an empty log. The error is an [*OptionError].
func New(o Options, now time.Time) (*Log, error) {
	if o.Bytes == 0 {
		o.Bytes = DefaultBytes
	}
	if o.Age == 0 {
		o.Age = DefaultAge
	}
	if o.MaxMessage == 0 {
		o.MaxMessage = DefaultMaxMessage
	}
	if o.Unacked == 0 {
		o.Unacked = DefaultUnacked
	}
	if o.Backlog == 0 {
		o.Backlog = DefaultBacklog
	}
	switch {
	case o.Bytes < 0:
		return nil, &OptionError{"Options.Bytes", o.Bytes, "is negative"}
	case o.Unacked < 0:
		return nil, &OptionError{"Options.Unacked", o.Unacked, "is negative"}
	case o.Age < 0:
		return nil, &OptionError{"Options.Age", o.Age, "is negative"}
	case o.Backlog < 0:
		return nil, &OptionError{"Options.Backlog", o.Backlog, "is negative"}
	case o.MaxMessage < 0 || o.MaxMessage > maxRecord:
		return nil, &OptionError{"Options.MaxMessage", o.MaxMessage, "must be from 1 to 2^27"}
	}
	l := &Log{
		opts: o, origin: origin{base: now, micros: now.UnixMicro()}, hole: &slab{},
		readers: readers{
			shares: make(map[*share]struct{}), groups: make(map[string]*share),
			leased: make(map[*share]struct{}), sessions: make(map[string]*Cursor),
		},
	}
	l.unacked = pool.NewPool(pool.Config{Limit: int64(o.Unacked), Floor: min(unackedFloor, int64(o.Unacked)/8)})
	l.backlogs = pool.NewPool(pool.Config{Limit: int64(o.Backlog), Floor: min(backlogFloor, int64(o.Backlog)/8)})
	l.ring.init()
	return l, nil
}

// maxRecord is the most that MaxMessage can be.
const maxRecord = 1 << 27

// Epoch returns the epoch of the log.
func (l *Log) Epoch() uint64 { return l.opts.Epoch }

// since converts a time to nanoseconds since the base of the log.
func (l *Log) since(now time.Time) int64 { return int64(now.Sub(l.base)) }

// time is the inverse of since.
func (l *Log) time(at int64) time.Time { return l.base.Add(time.Duration(at)) }

// Append gives a message the next number and adds it to all subscriptions that match its
// topic and key. It encodes the message once, and does not keep the slices of m. It never
// waits for a subscriber.
//
// Errors: [*LimitError], [*OptionError], a [*subject.Error] for an invalid topic,
// [ErrSealed], and one that wraps [ErrTooLarge]. On an error nothing has happened.
func (l *Log) Append(m Message, now time.Time) (Report, error) {
	return l.AppendAt(&m, now.Sub(l.base))
}

// AppendAt is Append with a time that counts from the one that [New] was given.
func (l *Log) AppendAt(m *Message, since time.Duration) (Report, error) {
	r, _, err := l.appendAt(m, since, false)
	return r, err
}

// Number is Append for a caller that needs the number of the message instead of a report.
// The number is zero if nothing had to be kept, because there is neither a history nor a
// subscription. A sealed log takes it too.
func (l *Log) Number(m *Message, now time.Time) (seq uint64, err error) {
	_, seq, err = l.appendAt(m, now.Sub(l.base), true)
	return seq, err
}

// First returns the number of the oldest message in the ring.
func (l *Log) First() uint64 { return l.ring.first.Load() }

// Seal makes Append return [ErrSealed] from now on. A subscription that ends later because the
// publisher ends was delivered, or told of, everything that was ever appended.
func (l *Log) Seal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sealed = true
}

func (l *Log) appendAt(m *Message, since time.Duration, sealed bool) (r Report, seq uint64, err error) {
	if err := m.check(); err != nil {
		return Report{}, 0, err
	}
	var long *slab
	var lay layout
	at := int64(since)
	clock, micros := splitClock(uint64(max(l.micros+at/1000, 0)))
	if len(m.Payload) >= longRecord {
		lay.measure(m, 0, 0, micros, true)
		if lay.total > l.opts.MaxMessage {
			return Report{}, 0, l.tooLarge(lay.total)
		}
		long = &slab{b: m.append(make([]byte, 0, lay.total), &lay, 0, 0, micros)}
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sealed && !sealed {
		return Report{}, 0, ErrSealed
	}
	t, fresh, err := l.topics.get(m.Topic)
	if err != nil {
		return Report{}, 0, err
	}
	matches := l.match(t)
	l.clock = max(l.clock, at)
	at = l.clock
	if l.opts.NoHistory && len(l.shares) == 0 {
		l.ring.skip(LaneOf(m.Priority), at)
		l.settled.Store(l.ring.end.Load() - 1)
		return Report{}, 0, nil
	}
	seq = l.ring.end.Load()
	e, s := l.ring.next(), long
	switch {
	case l.opts.NoHistory && !wanted(matches, m.Key):
		s, lay = l.hole, layout{}
	case long != nil:
		lay.number(long.b, seq, uint64(t.id))
	default:
		lay.measure(m, seq, uint64(t.id), micros, false)
		if lay.total > l.opts.MaxMessage {
			return Report{}, 0, l.tooLarge(lay.total)
		}
		var off int
		s, off = l.ring.reserve(lay.total)
		m.append(s.b[off:off:off+lay.total], &lay, seq, uint64(t.id), micros)
		e.off = uint32(off)
	}
	e.topic, e.fresh, e.at, e.clock, e.size = t, fresh, at, clock, uint32(lay.total)
	e.lane = uint8(LaneOf(m.Priority))
	if m.TTL > 0 {
		e.expires = at + min(int64(m.TTL), never-at)
	}
	if m.Key != "" {
		e.hash, e.key, e.keyLen = hash32(m.Key), uint16(lay.key), uint8(len(m.Key))
	}
	l.ring.put(e, s)
	l.ring.evict(l.opts.Bytes, at-int64(l.opts.Age))

	for _, sh := range matches {
		if sh.wantsKey(m.Key) {
			queued, dropped := sh.push(seq, e, at)
			r.Matched++
			r.Queued += queued
			r.Dropped += dropped
		}
	}
	l.written.Store(l.ring.written)
	l.settled.Store(seq)
	return r, seq, nil
}

// Written returns the total bytes of all records that were ever appended.
func (l *Log) Written() uint64 { return l.written.Load() }

func (l *Log) tooLarge(size int) error {
	return fmt.Errorf("journal: %w: its record has %d bytes, MaxMessage allows %d", ErrTooLarge, size, l.opts.MaxMessage)
}

func wanted(matches []*share, key string) bool {
	for _, sh := range matches {
		if sh.wantsKey(key) {
			return true
		}
	}
	return false
}

// match returns the subscriptions whose patterns match a topic, each once. The slice is
// valid as long as l.mu is held.
func (l *Log) match(t *topic) []*share {
	generation := l.index.Generation()
	if t.matched && t.generation == generation {
		return t.matches
	}
	l.round++
	// Drop references to subscriptions that may have ended.
	clear(l.found)
	l.found = l.found[:0]
	l.index.Match(t.name, func(sh *share) {
		if sh.round != l.round {
			sh.round = l.round
			l.found = append(l.found, sh)
		}
	})
	l.topics.remember(t, generation, l.found)
	return l.found
}
