package pipeline

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/internal/lane"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/pool"
)

var (
	errDrained     = errors.New("the worker has drained")
	errOtherStream = link.Errorf(link.Aborted, "the producer has opened another stream")
	errFlood       = link.Errorf(link.ResourceExhausted, "the producer sends what it should not, and does not read the answers")
)

// keepBuffer is the longest buffer that a stream keeps for what it writes next. It is
// that of a frame; a longer one is for the tasks and results that need it, and not for the time
// in which nothing is written.
const keepBuffer = 64 << 10

// kept returns a buffer to be used again, or none.
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
	credit int // bytes that each side may have on its way
	source *pool.Source
	ready  <-chan struct{}
	small  [24]byte     // for frames of numbers
	heard  atomic.Int64 // when the producer was heard of last
}

// write sends outcomes, windows and what else there is, in as few frames as the
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
			if s.source.Ready() != s.ready { // what is left to write is for the other one
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
	if err := s.control(work, now); err != nil { // first: later ones are told between the outcomes
		return err
	}
	most := lane.FrameFor(uint64(s.credit))
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

// outcomes sends some of what is left of them, in parts if it is a long one.
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

// aside sends what is not to wait until the outcomes that are left are written: with little credit
// that takes longer than a lease.
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

// control sends what is here, the window and PING.
func (s *session) control(work *pool.Work, now time.Time) error {
	if err := sendList(s.stream, frame.KindAlive, work.Alive); err != nil {
		return err
	}
	if work.Window {
		b := frame.AppendUint(frame.AppendUint(s.small[:0], uint64(work.Tasks)), uint64(work.Bytes))
		if err := s.stream.Send(link.Frame{Kind: frame.KindWindow, Body: b}); err != nil {
			return err
		}
	}
	if work.Ping {
		b := frame.AppendUint(s.small[:0], uint64(now.UnixMicro()))
		return s.stream.Send(link.Frame{Kind: frame.KindPing, Body: b})
	}
	return nil
}

// cutOutcomes returns how many bytes of whole records go in one frame.
func cutOutcomes(b []byte, most int) int {
	if len(b) <= most {
		return len(b)
	}
	var o frame.Outcome
	rest := b
	for {
		next, err := o.Cut(rest)
		if err != nil { // they are ours
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

func sendList(st stream, kind link.FrameKind, numbers []uint64) error {
	for len(numbers) > 0 {
		n := min(len(numbers), frame.MaxList)
		if err := st.Send(link.Frame{Kind: kind, Body: frame.AppendList(nil, numbers[:n])}); err != nil {
			return err
		}
		numbers = numbers[n:]
	}
	return nil
}

// read takes tasks and what else a producer sends, until it ends the stream.
func (s *session) read() error {
	flow := lane.Flow{Stream: s.stream, Credit: s.credit}
	joiner := lane.Joiner{Most: maxTasks, Room: s.source.Room()}
	defer joiner.Drop()
	var since int64 // when the first part came of a frame whose end has not; 0 is none
	for {
		f, err := s.stream.Recv()
		if err != nil {
			return err
		}
		now := s.worker.clock.now().UnixNano()
		s.heard.Store(now)
		if err := flow.Read(f); err != nil {
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
		if f.Kind == frame.KindTasks { // others, of a later version as well, may come between the parts
			f.Body = joiner.Whole(f.Body)
			if since != 0 {
				began, since = since, 0
			}
		}
		if err := s.take(f, began); errors.Is(err, frame.ErrMalformed) {
			return link.Errorf(link.InvalidArgument, "frame of kind %#x: %w", uint8(f.Kind), err)
		} else if err != nil {
			return err
		}
	}
}

// take takes in a frame that began to come at a time.
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
	switch f.Kind { //nolint:exhaustive // the others are the worker's, or of a later version
	case frame.KindTasks, frame.KindBeside:
		if err := w.pool.Receive(s.source, f.Body, began, now); err != nil {
			return err
		}
		w.spawnLocked(now)
	case frame.KindBacklog:
		pending, rest, ok := frame.CutUint(f.Body)
		if _, _, also := frame.CutUint(rest); !ok || !also {
			return frame.ErrMalformed
		}
		w.pool.Backlog(s.source, pending, now)
	case frame.KindPong:
		sent, _, ok := frame.CutUint(f.Body)
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
	default: // a later version sent it
		return nil
	}
	if s.source.Flooded() {
		return errFlood
	}
	w.lookLocked(now)
	return nil
}

// lookLocked makes the goroutine that keeps time look again if something is due sooner.
func (w *Worker) lookLocked(now int64) {
	if next := w.pool.Next(now); next != 0 && (w.tick == 0 || next < w.tick) {
		w.pokeLocked()
	}
}
