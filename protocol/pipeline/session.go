package pipeline

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/internal/flow"
	"github.com/linkmesh/link/protocol/internal/varint"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/pool"
)

var (
	errDrained     = errors.New("the worker has drained")
	errOtherStream = link.Errorf(link.Aborted, "the producer has opened another stream")
	errFlood       = link.Errorf(link.ResourceExhausted, "the producer sends what it should not, and does not read the answers")
)

// keepBuffer is the largest buffer that a stream keeps for its next write, in bytes: enough for
// a frame. A larger one is dropped once the long tasks or results that need it are written, so
// that idle streams do not hold it.
const keepBuffer = 64 << 10

// kept returns b, emptied for reuse, or nil if it is too large to keep.
func kept(b []byte) []byte {
	if cap(b) > keepBuffer {
		return nil
	}
	return b[:0]
}

// session is a worker's side of one stream.
type session struct {
	worker *Worker
	stream stream
	// credit is how many bytes each side may have in flight.
	credit int
	source *pool.Source
	ready  <-chan struct{}
	// small is for frames of numbers.
	small [24]byte
	// heard is when the producer was last heard from, in nanoseconds since 1970.
	heard atomic.Int64
}

// write sends outcomes, windows and other control frames, in as few frames as the
// producer's pace allows.
func (s *session) write(ctx context.Context) error {
	var spare []byte
	for {
		select {
		case <-s.ready:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for {
			now := s.worker.clock.now()
			s.worker.mu.Lock()
			// A newer stream of the producer writes the rest.
			if s.source.Ready() != s.ready {
				s.worker.mu.Unlock()
				return errOtherStream
			}
			work := s.worker.pool.Take(s.source, spare, now.UnixNano())
			held := s.worker.pool.Holds(s.source)
			s.worker.mu.Unlock()
			if err := s.send(&work, now); err != nil {
				return err
			}
			spare = kept(work.Outcomes)
			if work.Leaving && held == 0 {
				return errDrained
			}
			if len(work.Outcomes) == 0 {
				break
			}
		}
	}
}

func (s *session) send(work *pool.Work, now time.Time) error {
	// Control frames go first, because newer ones may be sent between the outcomes.
	if err := s.control(work, now); err != nil {
		return err
	}
	most := flow.FrameFor(uint64(s.credit))
	for rest := work.Outcomes; len(rest) > 0; {
		n := cutOutcomes(rest, most)
		if err := s.outcomes(rest[:n], rest, most); err != nil {
			return err
		}
		if rest = rest[n:]; len(rest) > 0 {
			if err := s.aside(rest); err != nil {
				return err
			}
		}
	}
	if work.Leaving {
		return s.stream.Send(link.Frame{Kind: frame.KindLeaving})
	}
	return nil
}

// outcomes sends the records in body, in parts if they are longer than most bytes. left is all
// outcomes that are not sent yet, including body.
func (s *session) outcomes(body, left []byte, most int) error {
	for ; len(body) > most; body = body[most:] {
		if err := s.stream.Send(link.Frame{Kind: frame.KindPart, Credited: true, Body: body[:most]}); err != nil {
			return err
		}
		if err := s.aside(left); err != nil {
			return err
		}
	}
	return s.stream.Send(link.Frame{Kind: frame.KindOutcomes, Credited: true, Body: body})
}

// aside sends control frames that must not wait until the outcomes in left are written: with little
// credit that may take longer than a lease.
func (s *session) aside(left []byte) error {
	w := s.worker
	now := w.clock.now()
	w.mu.Lock()
	if s.source.Ready() != s.ready {
		w.mu.Unlock()
		return errOtherStream
	}
	work := w.pool.Aside(s.source, left, now.UnixNano())
	w.mu.Unlock()
	return s.control(&work, now)
}

// control sends ALIVE, WINDOW and PING, as far as they are due.
func (s *session) control(work *pool.Work, now time.Time) error {
	if err := sendList(s.stream, frame.KindAlive, work.Alive); err != nil {
		return err
	}
	if work.Window {
		b := varint.Append(varint.Append(s.small[:0], uint64(work.Tasks)), uint64(work.Bytes))
		if err := s.stream.Send(link.Frame{Kind: frame.KindWindow, Body: b}); err != nil {
			return err
		}
	}
	if work.Ping {
		b := varint.Append(s.small[:0], uint64(now.UnixMicro()))
		return s.stream.Send(link.Frame{Kind: frame.KindPing, Body: b})
	}
	return nil
}

// cutOutcomes returns how many bytes of b go in one frame of whole records. They are more than most
// only for a single record.
func cutOutcomes(b []byte, most int) int {
	if len(b) <= most {
		return len(b)
	}
	var o frame.Outcome
	rest := b
	for {
		next, err := o.Cut(rest)
		if err != nil {
			return len(b)
		}
		if n := len(b) - len(next); n > most {
			if used := len(b) - len(rest); used > 0 {
				return used
			}
			return n
		}
		rest = next
	}
}

func sendList(st stream, kind uint8, numbers []uint64) error {
	for len(numbers) > 0 {
		n := min(len(numbers), frame.MaxList)
		if err := st.Send(link.Frame{Kind: kind, Body: frame.AppendList(nil, numbers[:n])}); err != nil {
			return err
		}
		numbers = numbers[n:]
	}
	return nil
}

// read handles the frames of a producer, until the stream ends.
func (s *session) read() error {
	grants := flow.Credit{Stream: s.stream, Credit: s.credit}
	joiner := flow.Joiner{Most: maxTasks, Room: s.source.Room()}
	defer joiner.Drop()
	// since is when the first part of an unfinished frame arrived, or 0 if there is none.
	var since int64
	for {
		f, err := s.stream.Recv()
		if err != nil {
			return err
		}
		now := s.worker.clock.now().UnixNano()
		s.heard.Store(now)
		if err := grants.Read(f); err != nil {
			return err
		}
		if f.Kind == frame.KindPart {
			if err := joiner.Part(f.Body); err != nil {
				return err
			}
			if since == 0 {
				since = now
			}
			continue
		}
		began := now
		// Frames of other kinds, including those of later versions, may come between the parts.
		if f.Kind == frame.KindTasks {
			f.Body = joiner.Whole(f.Body)
			if since != 0 {
				began, since = since, 0
			}
		}
		if err := s.take(f, began); errors.Is(err, frame.ErrMalformed) {
			return link.Errorf(link.InvalidArgument, "frame of kind %#x: %w", f.Kind, err)
		} else if err != nil {
			return err
		}
	}
}

// take handles a frame whose first part arrived at began.
func (s *session) take(f link.Frame, began int64) error {
	w := s.worker
	var numbers []uint64
	if f.Kind == frame.KindRecall || f.Kind == frame.KindCancel {
		var err error
		if numbers, err = frame.ParseList(nil, f.Body); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.clock.now().UnixNano()
	if s.source.Ready() != s.ready {
		return errOtherStream
	}
	switch f.Kind {
	case frame.KindTasks, frame.KindBeside:
		if err := w.pool.Receive(s.source, f.Body, began, now); err != nil {
			return err
		}
		w.spawnLocked(now)
	case frame.KindBacklog:
		pending, rest, ok := varint.Cut(f.Body)
		if _, _, also := varint.Cut(rest); !ok || !also {
			return frame.ErrMalformed
		}
		w.pool.Backlog(s.source, pending, now)
	case frame.KindPong:
		sent, _, ok := varint.Cut(f.Body)
		if !ok {
			return frame.ErrMalformed
		}
		w.pool.Pong(s.source, sent, now)
	case frame.KindRecall:
		w.pool.Recall(s.source, numbers, now)
	case frame.KindCancel:
		for _, t := range w.pool.Cancel(nil, s.source, numbers, now) {
			if ctx, ok := t.Owner.(*taskContext); ok {
				ctx.cancel(pool.ErrCanceled)
			}
		}
	default:
		// Frames of later versions are skipped.
		return nil
	}
	if s.source.Flooded() {
		return errFlood
	}
	w.lookLocked(now)
	return nil
}

// lookLocked wakes keepTime if something is due sooner than it plans to look.
func (w *Worker) lookLocked(now int64) {
	if next := w.pool.Next(now); next != 0 && (w.tick == 0 || next < w.tick) {
		w.wake.Set()
	}
}
