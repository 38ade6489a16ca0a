package pubsub

import (
	"slices"
	"sync/atomic"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/internal/lane"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

// conn is a member's connection while it lasts: a stream, or the publisher of this
// node itself.
type conn struct {
	member  *member
	peer    link.Peer
	foreign bool // the publisher is in another trust domain
	reader  *journal.Reader
	epoch   uint64
	live    uint64
	credit  int                     // bytes that may be on their way
	grant   func(frames, bytes int) // lets more come
	reuse   func(body []byte)       // takes back what nothing refers to; nil: nobody does

	waiting               atomic.Int32  // frames that were not read
	long                  atomic.Int64  // bytes of those that came in parts, whose credit is given back at once
	shrunk                chan struct{} // holds a token when long has shrunk
	owedFrames, owedBytes int           // for the goroutine that reads: read and not granted again
	cut                   func()        // ends it, to be made again

	pulse   pulse
	session int         // the member's, when it began: verdicts on messages of an earlier one mean nothing
	begun   bool        // something of it was observed
	records uint64      // guarded by member.mu: messages that were read
	inLine  atomic.Bool // a long frame waits for room to put its parts
	broken  bool        // guarded by member.mu: it has sent nonsense, and the rest is not read
	topic   string      // the topic of the last message, which was asked for
}

// holds makes room for a frame, and reports whether there is any: it is for long ones, of which one
// always has room, and others as long as all of them are no more than the longest one.
func (c *conn) holds(size int) bool {
	if size <= lane.MaxFrame {
		return true
	}
	if n := c.long.Load(); n > 0 && n+int64(size) > maxRecords {
		return false
	}
	c.long.Add(int64(size))
	return true
}

// countLocked notes that a record was read.
func (c *conn) countLocked(rec *journal.Record) {
	if rec.Kind == journal.KindMessage {
		c.records++
	}
}

// readOn returns how many messages of a connection were read.
func (m *member) readOn(c *conn) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return c.records
}

// letGo gives back the room of a long frame.
func (c *conn) letGo(f *frames) {
	if len(f.body) <= lane.MaxFrame {
		return
	}
	c.long.Add(-int64(len(f.body)))
	select {
	case c.shrunk <- struct{}{}:
	default:
	}
}

// asked reports whether a message is of a topic that the subscription has asked for. What
// is not must not pass: by its topic [Authorize] decides whether it is taken.
func (c *conn) asked(path string) bool {
	if path != c.topic {
		if !slices.ContainsFunc(c.member.want.Patterns, func(pattern string) bool { return subject.Match(pattern, path) }) {
			return false
		}
		c.topic = path
	}
	return true
}

// read ends a frame. More may come, though not one for each that was read if others
// wait: a grant costs both sides as much as hundreds of messages.
func (c *conn) read(f *frames) {
	c.letGo(f)
	c.member.finished(f)
	if !f.kept && c.reuse != nil && cap(f.body) <= 2*lane.MaxFrame { // longer ones are rare, and not worth keeping
		c.reuse(f.body)
	}
	if f.owed > 0 {
		c.owedFrames++
		c.owedBytes += f.owed
	}
	if c.owedFrames == 0 || c.waiting.Load() > 0 && c.owedFrames < lane.Frames/4 && c.owedBytes < c.credit/4 {
		return
	}
	c.grant(c.owedFrames, c.owedBytes)
	c.owedFrames, c.owedBytes = 0, 0
}
