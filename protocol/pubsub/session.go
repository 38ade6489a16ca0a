package pubsub

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

// blockWindow is how many bytes a subscription that publishers wait for may be
// behind before they do.
const blockWindow = 8 << 20

// session is one subscription while its stream lasts.
type session struct {
	hub      *hub
	stream   *link.Stream
	cursor   *journal.Cursor
	patterns []string

	block time.Duration // how long publishers wait for it; 0: not at all
	seen  atomic.Int64  // of hub.appended, how much it has had or has not asked for
	moved chan struct{} // holds a token when seen has grown

	sending atomic.Int64 // UnixNano since when a frame waits for the subscriber, or 0
}

func newSession(h *hub, st *link.Stream, cursor *journal.Cursor, ask *subscribe) *session {
	s := &session{
		hub: h, stream: st, cursor: cursor, patterns: ask.Patterns,
		block: min(time.Duration(max(ask.Block, 0))*time.Microsecond, MaxBlock),
		moved: make(chan struct{}, 1),
	}
	s.seen.Store(h.appended.Load())
	return s
}

func (s *session) wants(topic string) bool {
	for _, pattern := range s.patterns {
		if subject.Match(pattern, topic) {
			return true
		}
	}
	return false
}

// progress notes that a frame was written: head is hub.appended before it was
// filled, which is where the subscription is when nothing more was left.
func (s *session) progress(head int64, written int, more bool) {
	if s.block == 0 {
		return
	}
	if more {
		head = min(head, s.seen.Load()+int64(written))
	}
	s.seen.Store(head)
	select {
	case s.moved <- struct{}{}:
	default:
	}
}

func (s *session) behind() bool { return s.hub.appended.Load()-s.seen.Load() > blockWindow }

// await waits until the subscription is not far behind any more, as long as it
// asked for.
func (s *session) await(ctx context.Context) {
	t := time.NewTimer(s.block)
	defer t.Stop()
	for s.behind() {
		select {
		case <-s.moved:
		case <-t.C:
			return
		case <-ctx.Done():
			return
		case <-s.stream.Context().Done():
			return
		}
	}
}
