package receive

import (
	"context"
	"sync/atomic"

	"github.com/linkmesh/link/protocol/internal/lane"
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// Loose is an inbox that no publisher fills, for tests and benchmarks of what reads an inbox.
type Loose struct {
	*Inbox
	conn *Conn
	only frames
}

// NewLoose returns the inbox of a subscription to a pattern in the class Reliable. The subscription
// has ended: Wait returns false when Next has returned what Fill has put in.
func NewLoose(pattern string) *Loose {
	ask := &frame.Subscribe{Patterns: []string{pattern}, Class: uint8(journal.Reliable)}
	b := newInbox(Config{Ask: ask, Rule: new(atomic.Pointer[Rule])})
	b.ctx, b.cancel = context.WithCancelCause(context.Background())
	b.cancel(nil)
	m := newMember("feed", "feed-1", ask, false)
	return &Loose{Inbox: b, conn: &Conn{Member: m, reader: journal.NewReader(journal.ReaderLimits{}), flow: lane.Flow{Stream: noLender{}}}}
}

// Fill lets Next read a frame of records, as if they had not been read before. reuse is called with
// body when nothing refers to it any more, unless reuse is nil.
func (l *Loose) Fill(body []byte, reuse func(body []byte)) {
	l.conn.Member.tracker = journal.NewTracker(journal.Reliable, journal.Position{})
	l.conn.reuse = reuse
	l.conn.reader.Reset(body)
	l.only = frames{conn: l.conn, body: body}
	l.reading = &l.only
}
