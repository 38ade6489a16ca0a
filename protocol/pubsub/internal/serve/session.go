package serve

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/protocol/internal/lane"
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

const (
	// frameMessages bounds the messages in a frame.
	frameMessages = 1024
	// repeatMark is how often an unchanged mark is sent again. A mark that finds the
	// subscriber's queue full is dropped.
	repeatMark = 10 * heartbeatEvery
	// blockWindow is how many bytes a subscription may be behind before publishers wait
	// for it.
	blockWindow = 8 << 20
	// resumeWindow is how many bytes it may still be behind when publishers go on. Waking
	// them for every frame would cost more than the messages.
	resumeWindow = blockWindow * 3 / 4
)

// session is one subscription while its stream lasts.
type session struct {
	hub      *Hub
	out      frame.Sink
	cursor   *journal.Cursor
	peer     link.Peer
	patterns []string
	class    journal.Class
	group    string
	// durable is set if the place is kept when the subscriber ends, and forget if the
	// subscriber gave that up.
	durable bool
	forget  atomic.Bool

	// block is how long publishers wait for the subscription; 0 means that they do not.
	block time.Duration
	// seen is how much of hub.appended was sent to the subscription or not asked for by it.
	seen atomic.Int64
	// wake wakes a publisher that waits when seen has grown enough for it to go on.
	wake notify.Flag

	// readSoFar and credited count the messages that the subscriber has reported as read and
	// has given credit for. They belong to the goroutine that reads.
	readSoFar, credited uint64

	// began is hub.since at the beginning of the session.
	began time.Duration
	// looked is the version of the hub's topics that the patterns were compared with. It
	// belongs to the goroutine that writes.
	looked uint64
	// unpublished is set while the subscriber is told that nobody publishes what it asks for.
	unpublished atomic.Bool

	marks

	// workers waits for the goroutines of run, which end with the sink.
	workers sync.WaitGroup
	transit
}

// transit is what was sent to a subscriber, and how it takes it.
type transit struct {
	// sent counts messages.
	sent atomic.Uint64
	// proved is hub.since when the subscriber last took or read something that was sent.
	proved atomic.Int64
	// sending is hub.since when a frame began to wait for the subscriber, or when the
	// subscriber last took something while it waits; 0 if none waits.
	sending atomic.Int64
}

// marks are what an idle subscriber is told.
type marks struct {
	// mark is the last mark that was sent while idle, at markedAt. Both belong to the
	// goroutine that writes.
	mark     []byte
	markedAt time.Time
}

func newSession(h *Hub, out frame.Sink, cursor *journal.Cursor, ask *frame.Subscribe, peer link.Peer) *session {
	s := &session{
		hub: h, out: out, cursor: cursor, peer: peer,
		patterns: ask.Patterns, class: journal.Class(ask.Class), group: ask.Group, durable: ask.Durable,
		block: min(time.Duration(max(ask.Block, 0))*time.Microsecond, MaxBlock),
		wake:  notify.NewFlag(),
	}
	s.seen.Store(h.appended())
	s.began = h.since()
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

var (
	errUnsubscribed = errors.New("the subscriber ended the subscription")
	errDrained      = errors.New("the publisher drains")
)

// run writes to the subscriber and calls read, until either returns or the subscriber is
// stuck.
func (s *session) run(ctx context.Context, read func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 2)
	s.workers.Go(func() { ended <- s.write(ctx) })
	s.workers.Go(func() { ended <- read() })
	watch := time.NewTicker(time.Second)
	defer watch.Stop()
	var err error
	for err == nil {
		select {
		case err = <-ended:
		case <-watch.C:
			now := s.hub.since()
			s.hub.keepTime(now)
			if since := s.sending.Load(); since != 0 && int64(now)-since >= int64(frame.StuckTime) {
				s.hub.stuck.Add(1)
				err = link.Errorf(link.ResourceExhausted, "the subscriber took nothing for %v while messages waited; subscribe again to go on", frame.StuckTime)
			}
		}
	}
	return err
}

// finish closes the cursor for good, or detaches it while its session is kept. The other
// members of a group get what a detached member has only after journal.HandOver, because the
// member may come back.
func (s *session) finish(err error) {
	switch now := time.Now(); {
	case errors.Is(err, errUnsubscribed) && (!s.durable || s.forget.Load()):
		s.cursor.Close(now)
	case errors.Is(err, link.ErrProcessGone):
		s.cursor.Lose(now, s.durable)
	default:
		if s.cursor.Detach(now); s.group != "" {
			time.AfterFunc(journal.HandOver, func() {
				link.HostOf(s.hub.node).Go(func(context.Context) { s.cursor.HandOver(time.Now()) })
			})
		}
	}
}

// write sends what the cursor has, in as few frames as the subscriber's pace allows.
func (s *session) write(ctx context.Context) error {
	size := s.out.Size()
	// buf is nil while there is nothing to write.
	var buf *[]byte
	defer func() { putFrame(buf) }()
	timer := time.NewTimer(heartbeatEvery)
	defer timer.Stop()
	for {
		head := s.hub.appended()
		if buf == nil {
			buf = getFrame(size)
		}
		body, n, more, err := s.cursor.Fill((*buf)[:0], size, frameMessages, time.Now())
		s.sent.Add(uint64(n))
		if len(body) > 0 {
			switch err := s.send(body); {
			case errors.Is(err, errDrained):
				return s.giveUp(body)
			case err != nil:
				return err
			}
			*buf = body
		}
		s.progress(head, len(body), more)
		if err != nil {
			return s.failed(err)
		}
		if more {
			continue
		}
		putFrame(buf)
		buf = nil
		if err := s.idle(ctx, timer); err != nil {
			return err
		}
	}
}

// failed returns the error that ends a session whose cursor has failed.
func (s *session) failed(err error) error {
	behind, ok := errors.AsType[*journal.TooFarBehindError](err)
	switch {
	case !ok:
		return link.Errorf(link.Unavailable, "%w", err)
	case s.quiet():
		// The publisher drains, so the subscriber cannot subscribe again.
		return s.giveUp(nil)
	default:
		return link.Errorf(link.OutOfRange, "%w", behind)
	}
}

// outgoing recycles the buffers of frames, so that idle subscriptions hold none. It is
// global because it is only a cache.
var outgoing sync.Pool //nolint:gochecknoglobals // see above

func getFrame(size int) *[]byte {
	if buf, _ := outgoing.Get().(*[]byte); buf != nil && cap(*buf) >= size {
		return buf
	}
	buf := make([]byte, 0, size+size/16)
	return &buf
}

// putFrame recycles a buffer, unless it is nil or a long record has made it long.
func putFrame(buf *[]byte) {
	if buf != nil && cap(*buf) <= 2*lane.MaxFrame {
		outgoing.Put(buf)
	}
}

func (s *session) send(body []byte) error {
	now := max(int64(s.hub.since()), 1)
	s.proved.Store(now)
	s.sending.Store(now)
	defer s.sending.Store(0)
	return s.out.Send(s.hub.drain.words, body, s.moves)
}

// moves notes that the subscriber has taken or read something that was sent.
func (s *session) moves() {
	s.proved.Store(int64(s.hub.since()))
	s.waits()
}

// waits notes that the subscriber reports that it reads. Without proof that is accepted for
// [frame.ElsewhereMost].
func (s *session) waits() {
	now := max(int64(s.hub.since()), 1)
	if since := s.sending.Load(); since != 0 && now-s.proved.Load() < int64(frame.ElsewhereMost) {
		s.sending.CompareAndSwap(since, now)
	}
}

// idle waits until there is something to write.
func (s *session) idle(ctx context.Context, timer *time.Timer) error {
	wait := heartbeatEvery
	if at, ok := s.cursor.Deadline(); ok {
		wait = min(wait, max(time.Until(at), 0))
	}
	quiet := s.out.Draining()
	if s.quiet() {
		// Nothing is published any more. The answers of other members of a group do not wake
		// this session, so it polls.
		s.hub.log.Seal()
		if !s.cursor.Owed(time.Now(), s.hub.drain.until()) {
			return errDrained
		}
		quiet, wait = nil, min(wait, drainLook)
	}
	timer.Reset(wait)
	select {
	case <-s.cursor.Ready():
		return nil
	case <-timer.C:
		if err := s.tellTopics(); err != nil || wait < heartbeatEvery {
			return err
		}
		// A mark takes no credit, so a subscriber that reads nothing is not stuck because of it.
		body := s.cursor.Mark(nil)
		if now := time.Now(); len(body) > 0 && (!bytes.Equal(body, s.mark) || now.Sub(s.markedAt) >= repeatMark) {
			s.mark, s.markedAt = body, now
			return s.out.Note(body)
		}
		return nil
	case <-quiet:
		// Messages that were published until now are still to be written.
		return nil
	case <-s.over():
		return s.giveUp(nil)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// progress notes that a frame was written. Head is hub.appended before the frame was
// filled, which is where the subscription is if nothing more was left.
func (s *session) progress(head int64, written int, more bool) {
	if s.block == 0 {
		return
	}
	if more {
		head = min(head, s.seen.Load()+int64(written))
	}
	s.seen.Store(head)
	if !s.behind(resumeWindow) {
		s.wake.Set()
	}
}

// caughtUp reports whether the subscription was sent everything that it asked for, and if so
// notes that it is not behind.
func (s *session) caughtUp() bool {
	head := s.hub.appended()
	if !s.cursor.Idle() {
		return false
	}
	s.seen.Store(head)
	return true
}

func (s *session) behind(by int64) bool { return s.hub.appended()-s.seen.Load() > by }

// await waits until the subscription is no more than resumeWindow behind or has ended, for at
// most the given time.
func (s *session) await(ctx context.Context, most time.Duration) {
	t := time.NewTimer(most)
	defer t.Stop()
	for s.behind(resumeWindow) {
		select {
		case <-s.wake:
		case <-t.C:
			return
		case <-ctx.Done():
			return
		case <-s.out.Ended():
			return
		}
	}
}
