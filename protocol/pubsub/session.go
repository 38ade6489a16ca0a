package pubsub

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/internal/lane"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

const (
	// frameMessages bounds the messages that are written at once.
	frameMessages = 1024
	// repeatMark is how often a mark is sent that has not changed: one that found the
	// subscriber's queue full was dropped.
	repeatMark = 10 * HeartbeatEvery
	// blockWindow is how many bytes a subscription that publishers wait for may be
	// behind before they do.
	blockWindow = 8 << 20
	// resumeWindow is how far behind it may be still when they go on: waking up for
	// every frame would cost more than the messages.
	resumeWindow = blockWindow * 3 / 4
	// elsewhereMost is how long a subscription is not stuck because it says that it reads what
	// others publish, of which there is no proof here: as long as a log keeps messages.
	elsewhereMost = 10 * StuckTime
)

// sink is where the records of a session go: a stream, or a subscriber of this node.
type sink interface {
	// send passes on a frame of records, which is the session's again when it returns.
	// It waits for the subscriber, and calls moved when that has taken a part; if ctx
	// ends while it waits, the error is ctx's and the frame was not sent.
	send(ctx context.Context, body []byte, moved func()) error
	// note passes on a frame that takes no credit and may be dropped: a mark.
	note(body []byte) error
	// last passes on the gaps of what does not come any more.
	last(body []byte) error
	// topics passes on whether anybody publishes what was asked for. It takes no credit.
	topics(say *published) error
	// size is how many bytes a frame should have.
	size() int
	// draining is closed when the publisher drains and nothing runs there any more that
	// could publish.
	draining() <-chan struct{}
	// ended is closed when the subscriber is gone.
	ended() <-chan struct{}
}

// session is one subscription while its stream lasts.
type session struct {
	hub      *hub
	out      sink
	cursor   *journal.Cursor
	peer     link.Peer
	patterns []string
	class    Class
	group    string
	durable  bool        // it stays when the subscriber ends
	forget   atomic.Bool // unless that says that it ends

	block time.Duration // how long publishers wait for it; 0: not at all
	seen  atomic.Int64  // how much of hub.appended it has had or has not asked for
	moved chan struct{} // holds a token when seen has grown enough

	readSoFar, credited uint64 // for the goroutine that reads: messages that the subscriber has read and given credit for

	began       time.Duration // hub.since of when it began
	looked      uint64        // for the goroutine that writes: the topics of the hub that it was compared with
	unpublished atomic.Bool   // the subscriber was told that nobody publishes what it asks for

	mark     []byte    // for the goroutine that writes: the last one that was sent in an idle second
	markedAt time.Time // and when

	workers sync.WaitGroup // waits for run, which the end of the sink ends
	sent    atomic.Uint64  // messages
	proved  atomic.Int64   // hub.since of when the subscriber last took or read something that was sent
	sending atomic.Int64   // hub.since of when a frame began to wait for the subscriber, or it last took something; 0: none waits
}

func newSession(h *hub, out sink, cursor *journal.Cursor, ask *subscribe, peer link.Peer) *session {
	s := &session{
		hub: h, out: out, cursor: cursor, peer: peer,
		patterns: ask.Patterns, class: Class(ask.Class), group: ask.Group, durable: ask.Durable,
		block: min(time.Duration(max(ask.Block, 0))*time.Microsecond, MaxBlock),
		moved: make(chan struct{}, 1),
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

// run writes, and does what read does, until one of both ends or the subscriber is
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
			if since := s.sending.Load(); since != 0 && int64(now)-since >= int64(StuckTime) {
				s.hub.stuck.Add(1)
				err = link.Errorf(link.ResourceExhausted, "the subscriber took nothing for %v while messages waited; subscribe again to go on", StuckTime)
			}
		}
	}
	return err
}

// finish lets go of the cursor: for good, or for as long as its session is kept. A member of a group that may come
// back has a moment before the others get what it has.
func (s *session) finish(err error) {
	switch now := time.Now(); {
	case errors.Is(err, errUnsubscribed) && (!s.durable || s.forget.Load()):
		s.cursor.Close(now)
	case errors.Is(err, link.ErrProcessGone):
		s.cursor.Lose(now, s.durable)
	default:
		if s.cursor.Detach(now); s.group != "" {
			time.AfterFunc(journal.HandOver, func() {
				s.hub.node.Go(func(context.Context) { s.cursor.HandOver(time.Now()) }) // unless the node is closed
			})
		}
	}
}

// write sends what the cursor has, in as few frames as the subscriber's pace allows.
func (s *session) write(ctx context.Context) error {
	frame := s.out.size()
	var buf *[]byte // none while there is nothing to write
	defer func() { putFrame(buf) }()
	timer := time.NewTimer(HeartbeatEvery)
	defer timer.Stop()
	for {
		head := s.hub.appended()
		if buf == nil {
			buf = getFrame(frame)
		}
		body, n, more, err := s.cursor.Fill((*buf)[:0], frame, frameMessages, time.Now())
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

// failed ends a session whose cursor has.
func (s *session) failed(err error) error {
	behind, ok := errors.AsType[*journal.TooFarBehindError](err)
	switch {
	case !ok:
		return link.Errorf(link.Unavailable, "%w", err)
	case s.quiet():
		return s.giveUp(nil) // there is nobody to subscribe to again
	default:
		return link.Errorf(link.OutOfRange, "%w", behind)
	}
}

// outgoing recycles the buffers that frames are put together in, so that subscriptions
// hold none while they are idle. It is a cache without meaning for behavior, so it may be global.
var outgoing sync.Pool //nolint:gochecknoglobals // see above

func getFrame(size int) *[]byte {
	if buf, _ := outgoing.Get().(*[]byte); buf != nil && cap(*buf) >= size {
		return buf
	}
	buf := make([]byte, 0, size+size/16)
	return &buf
}

// putFrame takes a buffer back, unless there is none or a long record has made it long.
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
	return s.out.send(s.hub.drain.words, body, s.moves)
}

// moves notes that the subscriber takes what is sent, or reads what it has.
func (s *session) moves() {
	s.proved.Store(int64(s.hub.since()))
	s.waits()
}

// waits notes that the subscriber says that it reads something else, for as long as that may be.
func (s *session) waits() {
	now := max(int64(s.hub.since()), 1)
	if since := s.sending.Load(); since != 0 && now-s.proved.Load() < int64(elsewhereMost) {
		s.sending.CompareAndSwap(since, now)
	}
}

// idle waits until there is something to write.
func (s *session) idle(ctx context.Context, timer *time.Timer) error {
	wait := HeartbeatEvery
	if at, ok := s.cursor.Deadline(); ok {
		wait = min(wait, max(time.Until(at), 0))
	}
	quiet := s.out.draining()
	if s.quiet() {
		// Nothing is published any more. What others of a group answer makes no sound here.
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
		if err := s.tellTopics(); err != nil || wait < HeartbeatEvery {
			return err
		}
		// It takes no credit: a subscriber that reads nothing owes nothing for it.
		body := s.cursor.Mark(nil)
		if now := time.Now(); len(body) > 0 && (!bytes.Equal(body, s.mark) || now.Sub(s.markedAt) >= repeatMark) {
			s.mark, s.markedAt = body, now
			return s.out.note(body)
		}
		return nil
	case <-quiet:
		return nil // what was published until now is still to be written
	case <-s.over():
		return s.giveUp(nil)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
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
	if s.behind(resumeWindow) {
		return // nobody goes on yet
	}
	select {
	case s.moved <- struct{}{}:
	default:
	}
}

// caughtUp reports whether the subscription has nothing before it, whatever was published
// that it did not ask for.
func (s *session) caughtUp() bool {
	head := s.hub.appended()
	if !s.cursor.Idle() {
		return false
	}
	s.seen.Store(head)
	return true
}

func (s *session) behind(by int64) bool { return s.hub.appended()-s.seen.Load() > by }

// await waits until the subscription is not far behind any more, for so long at the most.
func (s *session) await(ctx context.Context, most time.Duration) {
	t := time.NewTimer(most)
	defer t.Stop()
	for s.behind(resumeWindow) {
		select {
		case <-s.moved:
		case <-t.C:
			return
		case <-ctx.Done():
			return
		case <-s.out.ended():
			return
		}
	}
}
