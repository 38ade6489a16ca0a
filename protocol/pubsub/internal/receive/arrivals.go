package receive

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/internal/flow"
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// maxRecords bounds a frame that comes in parts: the longest record that a log takes, and
// one frame.
const maxRecords = journal.DefaultMaxMessage + flow.MaxFrame

// maxMark bounds a frame without credit, which only a mark may be, in bytes. A mark takes less than half of
// that. Longer ones are dropped: up to flow.Frames of these frames wait, and no credit bounds them.
const maxMark = 64

// arrivals is where the frames of a stream arrive. The goroutine that reads the stream puts them into
// the inbox and never waits, because the credit of the stream is their room there. Only a frame longer
// than that, and its parts, need more room than credit gives. If there is none, they stand in line,
// with everything that comes behind them, until the goroutine of the member has found room.
type arrivals struct {
	to     intake
	conn   *Conn
	stream source
	// turn is the room for a frame in parts, and parts has those that came. While line is empty they
	// belong to whoever holds mu, otherwise to the goroutine of the member.
	turn  flow.Turn
	parts flow.Joiner
	// wake tells the goroutine of the member that line, said or failed has changed. over is closed when
	// nothing more arrives.
	wake notify.Flag
	over chan struct{}

	mu sync.Mutex // guards the fields below
	// line has what waits for room, oldest first.
	line []arrival
	// granted counts the frames and bytes of parts that are to be granted again.
	granted struct{ frames, bytes int }
	// said is the last report on the publisher's topics. Its kind is 0 if it was looked at.
	said link.Frame
	// last is set when the publisher has told what it will not deliver.
	last bool
	// failed is why nothing more is taken of the stream. closed means that everything is dropped.
	failed error
	closed bool

	// The fields below belong to the goroutine of the member.

	remains
}

// remains is what is kept of a stream that has ended.
type remains struct {
	// others is for OneOf. It receives if another publisher, which sends again what is dropped
	// here, stands by.
	others <-chan struct{}
	// room counts what is kept of the stream when it has ended, which is taken bytes.
	room  *share.Holder
	taken int64
	// kept is set once that was counted, and lost is why something that came was given up.
	kept bool
	lost error
	// until is when parts stop waiting for a turn after the stream has ended.
	until time.Time
}

// source is what arrivals need of a stream.
type source interface {
	Recv() (link.Frame, error)
	Grant(frames, bytes int) error
	Close()
}

// arrival is a frame in line.
type arrival struct {
	kind uint8
	body []byte
	// owed is how many bytes of credit are due for the frame. whole means that its parts are in body.
	owed  int
	whole bool
}

// take takes the next frame of the stream.
func (a *arrivals) take(f link.Frame) {
	a.mu.Lock()
	defer a.unlock()
	next := arrival{kind: f.Kind, body: f.Body}
	switch {
	case a.closed:
		return
	case f.Kind == frame.KindTopics:
		a.said = f
		a.wake.Set()
		return
	case f.Kind == frame.KindLast && a.last:
		a.failLocked(broken(errors.New("a second LAST on one stream")))
		return
	case f.Kind == frame.KindLast:
		a.last = true
	case f.Kind == frame.KindPart && !f.Credited:
		a.failLocked(broken(errors.New("a PART without credit")))
		return
	case f.Kind == frame.KindRecords && !f.Credited:
		if len(a.line) == 0 && len(f.Body) <= maxMark {
			a.to.note(&frames{conn: a.conn, body: f.Body})
		}
		return
	case f.Kind == frame.KindPart, f.Kind == frame.KindRecords:
		next.owed = len(f.Body)
	default:
		// A later version of the protocol may send other kinds.
		return
	}
	if len(a.line) > 0 || !a.passLocked(&next) {
		a.line = append(a.line, next)
		a.wake.Set()
	}
}

// broken returns the error of a stream on which something came that no publisher sends. It does not refuse the
// subscription, which is connected to the publisher again, as after any other loss.
func broken(err error) error {
	return link.Errorf(link.Internal, "the publisher breaks the protocol: %w", err)
}

// end notes that nothing more arrives.
func (a *arrivals) end() { close(a.over) }

// unlock ends what was done with the lock held, and grants the credit of parts again.
func (a *arrivals) unlock() {
	due := a.granted
	a.granted.frames, a.granted.bytes = 0, 0
	a.mu.Unlock()
	if due.frames > 0 {
		// The streams of connections return no error.
		_ = lender{a.stream}.Grant(due.frames, due.bytes)
	}
}

// failLocked drops what waits and what comes.
func (a *arrivals) failLocked(err error) {
	a.failed, a.closed, a.line = err, true, nil
	a.wake.Set()
}

// passLocked joins or queues a frame. It returns false if there is no room.
func (a *arrivals) passLocked(f *arrival) bool {
	switch {
	case f.kind == frame.KindPart:
		if !a.turn.Try() {
			return false
		}
		if err := a.parts.Part(f.body); err != nil {
			a.failLocked(err)
			return true
		}
		a.granted.frames++
		a.granted.bytes += len(f.body)
		return true
	case f.kind == frame.KindRecords && !f.whole:
		f.body, f.whole = a.parts.Whole(f.body), true
		a.turn.End()
	}
	if !a.conn.holds(len(f.body)) {
		return false
	}
	a.to.put(&frames{conn: a.conn, body: f.body, owed: f.owed})
	return true
}

// newArrivals returns what takes the frames of a stream.
func newArrivals(to intake, c *Conn, st *link.Stream, turn flow.Turn) *arrivals {
	a := &arrivals{
		to: to, conn: c, stream: st, turn: turn, parts: flow.Joiner{Most: maxRecords},
		wake: notify.NewFlag(), over: make(chan struct{}),
		remains: remains{others: to.box.others, room: to.box.conf.Shared.unheard.Holder(flow.KeyOf(st.Peer()))},
	}
	// While a part waits for its turn, the pulse tells the publisher that this subscriber is not stuck.
	a.turn.Waits = func() {
		c.inLine.Store(true)
		c.pulse.arm()
	}
	return a
}

// run moves on what stands in line, until the stream has ended and all that came on it is in the
// inbox, or ctx ends. It returns why the stream has ended, or why the rest of it was given up.
func (a *arrivals) run(ctx context.Context) error {
	defer a.drop()
	for {
		over := a.isOver()
		first, err := a.advance()
		switch {
		case ctx.Err() != nil:
			return a.abandon(ctx)
		case err != nil:
			a.giveUp(err)
			a.stream.Close()
			<-a.over
			return a.settle(ctx)
		case first == frame.KindPart:
			a.awaitTurn(ctx)
		case first != 0:
			a.awaitHold(ctx)
		case over:
			return a.settle(ctx)
		default:
			select {
			case <-a.wake:
			case <-a.over:
			case <-ctx.Done():
			}
		}
	}
}

func (a *arrivals) isOver() bool {
	select {
	case <-a.over:
		return true
	default:
		return false
	}
}

// advance moves on what has room. It returns the kind of the first frame that has none, 0 without one.
func (a *arrivals) advance() (first uint8, err error) {
	a.mu.Lock()
	for len(a.line) > 0 {
		if !a.passLocked(&a.line[0]) {
			first = a.line[0].kind
			break
		}
		if len(a.line) > 0 {
			a.line[0] = arrival{}
			a.line = a.line[1:]
		}
	}
	said, failed := a.said, a.failed
	a.said = link.Frame{}
	a.unlock()
	if said.Kind == 0 || failed != nil {
		return first, failed
	}
	var say frame.Published
	if err := frame.Decode(said, frame.KindTopics, &say); err != nil {
		return 0, broken(err)
	}
	if err := say.Check(); err != nil {
		return 0, broken(err)
	}
	a.to.published(&say)
	return first, nil
}
