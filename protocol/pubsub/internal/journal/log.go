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
	// Epoch tells this log from one that a publisher had before; it should be random.
	Epoch uint64
	// Bytes and Age bound what the ring keeps: zero is [DefaultBytes], [DefaultAge].
	// Messages leave it by whichever comes first; the newest one never does.
	Bytes int
	Age   time.Duration
	// Unacked bounds what it takes to keep the messages that wait for acks: their records,
	// and about 300 bytes and the history of their deliveries for each. Each
	// Subscription.Who may have as much as it leaves free; beyond that, a subscription gets a
	// message only when none of its own waits. Zero is [DefaultUnacked].
	Unacked int
	// Backlog bounds what subscriptions take that are behind: 8 bytes for each message, 32 of a
	// member of a group, and about 64 for each key of Latest, beyond the first 8 KiB of each list.
	// Each Subscription.Who may have as much as it leaves free; beyond that BestEffort and Latest
	// drop messages, other classes read the ring, and a group keeps what a member has no room for.
	// Zero is [DefaultBacklog].
	Backlog int
	// NoHistory keeps only what a subscription asked for when it was published. A
	// message that nobody asked for is not encoded, and a subscription that starts
	// before it is told of a gap.
	NoHistory bool
	// MaxMessage bounds the record of a message, about 50 bytes more than its
	// payload, key and headers; zero is [DefaultMaxMessage].
	MaxMessage int
}

// Log is the messages of a publisher in the order of their numbers, and its
// subscriptions. All methods are safe for concurrent use.
//
// The times that methods are given should come from one clock that does not step
// back, such as time.Now of one process.
type Log struct {
	opts    Options
	base    time.Time
	micros  int64 // base, since 1970
	settled atomic.Uint64
	written atomic.Uint64 // as ring.written
	ring    ring
	index   subject.Index[*share]
	hole    *slab // stands for the records of messages that were not kept

	unacked   *pool.Pool // what windows, and what waits beside them, take
	dying     dying
	throttled atomic.Uint64 // times that a window waited for room in Options.Unacked
	backlogs  *pool.Pool    // what backlogs take
	crowded   atomic.Uint64 // times that a backlog had no more room in Options.Backlog

	mu       sync.Mutex // guards the fields below, and all of ring that is written
	topics   topics
	shares   map[*share]struct{}
	groups   map[string]*share
	leased   map[*share]struct{} // the shares of AtLeastOnce
	sessions map[string]*Cursor
	dead     deadLetters // those of subscriptions that have ended
	round    uint64      // counts searches for matches
	found    []*share    // scratch of it
	clock    int64       // the latest time a publisher gave
	sealed   bool        // Append takes nothing more
}

// ErrTooLarge is what [Log.Append] wraps when a message is larger than MaxMessage.
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
		opts: o, base: now, micros: now.UnixMicro(), hole: &slab{},
		shares: make(map[*share]struct{}), groups: make(map[string]*share),
		leased: make(map[*share]struct{}), sessions: make(map[string]*Cursor),
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

// since returns a time as the log counts it.
func (l *Log) since(now time.Time) int64 { return int64(now.Sub(l.base)) }

// time is the inverse of since.
func (l *Log) time(at int64) time.Time { return l.base.Add(time.Duration(at)) }

// Append gives a message the next number and puts it before all subscriptions that
// match its topic and key. It encodes it once; the slices of m are the caller's again
// when it returns. It never waits for a subscriber.
//
// Errors: [*LimitError], [*OptionError], a [*subject.Error] for a topic that is none,
// [ErrSealed], and one that is [ErrTooLarge]; then nothing happened.
func (l *Log) Append(m Message, now time.Time) (Report, error) {
	return l.AppendAt(&m, now.Sub(l.base))
}

// AppendAt is Append with the time since the one that [New] was given.
func (l *Log) AppendAt(m *Message, since time.Duration) (Report, error) {
	r, _, err := l.appendAt(m, since, false)
	return r, err
}

// Number is Append for those who want to know the number that the message has got, zero if
// it was not kept, and not what became of it. A log that is sealed takes it.
func (l *Log) Number(m *Message, now time.Time) (seq uint64, err error) {
	_, seq, err = l.appendAt(m, now.Sub(l.base), true)
	return seq, err
}

// First returns the number of the oldest message in the ring.
func (l *Log) First() uint64 { return l.ring.first.Load() }

// Seal has Append return [ErrSealed] from now on: a subscription that ends after that, because
// the publisher does, has had or been told everything that was ever appended.
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

// Written returns the bytes of all records that were ever appended.
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

// match returns the subscriptions whose patterns match a topic, each once. They are
// valid as long as the lock is held.
func (l *Log) match(t *topic) []*share {
	generation := l.index.Generation()
	if t.matched && t.generation == generation {
		return t.matches
	}
	l.round++
	clear(l.found) // of those that may have ended
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
