package receive

import (
	"errors"
	"slices"
	"sync/atomic"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/protocol/internal/flow"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

// Conn is a member's connection while it lasts: a stream, or the publisher of this
// node itself.
type Conn struct {
	Member *Member
	Peer   link.Peer
	// Foreign is set if the publisher is in another trust domain.
	Foreign bool
	// Live is the number of the first message that was published after the subscription began.
	Live uint64

	reader *journal.Reader
	epoch  uint64
	// grants let the publisher send more. They belong to the goroutine that reads the subscription.
	grants flow.Credit
	// reuse takes back a body that nothing refers to; nil if bodies are not reused.
	reuse func(body []byte)

	// waiting counts the frames that were not read. If full is not zero, no more than that may wait,
	// because there is no credit that bounds them.
	waiting atomic.Int32
	full    int32
	// shrunk is set when there may be room that there was not: Member.long or, if it has a bound, waiting
	// has shrunk, or a frame has come to the front of the inbox.
	shrunk notify.Flag
	// cut ends the connection, so that the member makes a new one.
	cut func()

	pulse pulse
	// session is the member's session when the connection began. Verdicts on messages of an
	// earlier session are ignored.
	session int
	// begun is set once a record of the connection was observed.
	begun bool
	// records counts the messages that were read. It is guarded by Member.mu.
	records uint64
	// inLine is set while a long frame waits for room for its parts.
	inLine atomic.Bool
	// broken is set when the publisher has sent malformed records, after which nothing more is
	// read. It is guarded by Member.mu.
	broken bool
	// topic is the topic of the last message, which the subscription is known to ask for.
	topic string
}

// holds reserves room for a frame and reports whether there was any. Only frames longer than
// flow.MaxFrame need room: one always has it, and others have it while all of them together, also those
// of earlier connections, are no longer than maxRecords.
func (c *Conn) holds(size int) bool {
	if size <= flow.MaxFrame {
		return true
	}
	long := &c.Member.long
	if n := long.Load(); n > 0 && n+int64(size) > maxRecords {
		return false
	}
	long.Add(int64(size))
	return true
}

// popped notes that a frame is about to be read.
func (c *Conn) popped() {
	c.waiting.Add(-1)
	if c.full > 0 {
		c.shrunk.Set()
	}
}

// takes reserves room for a frame of a connection without credit and reports whether there was any.
func (c *Conn) takes(size int) bool { return c.waiting.Load() < c.full && c.holds(size) }

// countLocked notes that a record was read.
func (c *Conn) countLocked(rec *journal.Record) {
	if rec.Kind == journal.KindMessage {
		c.records++
	}
}

// readOn returns how many messages of a connection were read.
func (m *Member) readOn(c *Conn) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return c.records
}

// letGo releases the room of a long frame.
func (c *Conn) letGo(f *frames) {
	if len(f.body) <= flow.MaxFrame {
		return
	}
	m := c.Member
	m.long.Add(-int64(len(f.body)))
	m.mu.Lock()
	now := m.last
	m.mu.Unlock()
	if now != nil && now != c {
		now.shrunk.Set()
	}
	c.shrunk.Set()
}

// asked reports whether the subscription has asked for messages of a topic. Other messages
// must be rejected, because a [Rule] decides by the topic whether a message is taken.
func (c *Conn) asked(path string) bool {
	if path != c.topic {
		if !slices.ContainsFunc(c.Member.want.Patterns, func(pattern string) bool { return subject.Match(pattern, path) }) {
			return false
		}
		c.topic = path
	}
	return true
}

// read finishes a frame and grants its credit again, together with that of others while more frames
// wait.
func (c *Conn) read(f *frames) {
	c.letGo(f)
	c.Member.finished(f)
	// Longer bodies are rare and not worth keeping.
	if !f.kept && c.reuse != nil && cap(f.body) <= 2*flow.MaxFrame {
		c.reuse(f.body)
	}
	credited := 0
	if f.owed > 0 {
		credited = 1
	}
	// The streams of connections return no error.
	_ = c.grants.Count(credited, f.owed, c.waiting.Load() > 0)
}

// lender grants credit to the publisher of a stream. Its Grant returns no error.
type lender struct{ stream source }

func (l lender) Grant(frames, bytes int) error {
	// A stream that has ended needs no credit. If other streams took all the credit of the
	// connection, this stream would stall, and a new one gets its share.
	if err := l.stream.Grant(frames, bytes); errors.Is(err, link.ResourceExhausted) {
		l.stream.Close()
	}
	return nil
}

// noLender is for a publisher of the node itself, which needs no credit.
type noLender struct{}

func (noLender) Grant(int, int) error { return nil }

// connection is how a member is connected to its publisher.
type connection struct {
	// conn is the current connection, and last the current or latest one; nil if there is none.
	conn *Conn
	last *Conn
	// open is set if the publisher was connected and has not said since that it has sent everything.
	open  bool
	taken int // messages read on conn since credit was given
}
