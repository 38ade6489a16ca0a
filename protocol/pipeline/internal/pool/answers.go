package pool

import (
	"slices"
	"time"

	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// done is a task whose outcome is to be written again.
type done struct{ seq, delivery uint64 }

// askDone adds to again the tasks in a range that the cache knows to be done, except those in held, which were
// answered for already.
func (s *Source) askDone(first, last uint64, held []uint64, now int64, window time.Duration) {
	for _, page := range s.cache.pages {
		if page == nil {
			continue
		}
		for i := range page {
			e := &page[i]
			if e.verb != frame.Ack && e.verb != frame.Result || e.seq < first || e.seq > last || now-e.at >= int64(window) {
				continue
			}
			if _, ok := slices.BinarySearch(held, e.seq); ok {
				continue
			}
			s.again = append(s.again, done{e.seq, e.delivery})
		}
	}
}

// sayAgain appends to out about AgainBytes of the outcomes in again. The others are copied when the producer
// has read these, because a HELLO costs only a few bytes but may ask for all that is kept. A task whose outcome
// is no longer kept is given back.
func (s *Source) sayAgain(now int64, window time.Duration) {
	for n := 0; len(s.again) > 0 && n < AgainBytes; {
		before := len(s.out)
		d := s.again[0]
		o := frame.Outcome{Verb: frame.Release, Seq: d.seq, Delivery: d.delivery, Data: []byte("its outcome is not known any more")}
		if e := s.cache.get(d.seq, now, window); e != nil {
			o = e.outcome(d.delivery)
		}
		s.append(&o)
		n += len(s.out) - before
		s.again = s.again[1:]
	}
	if len(s.again) == 0 {
		s.again = nil
	}
}

// echo is like say, for an answer that a producer can ask for any number of times. It gives none if Flooded.
func (p *Pool) echo(s *Source, o *frame.Outcome) {
	if s.Flooded() {
		return
	}
	before := len(s.out)
	p.say(s, o)
	s.echoed += len(s.out) - before
}

// Flooded reports whether the producer has sent much that it should not have and does not read the answers.
func (s *Source) Flooded() bool { return s.echoed > MaxEcho }

// say adds an outcome to what is to be written, if the producer is connected.
func (p *Pool) say(s *Source, o *frame.Outcome) {
	if !s.connected {
		return
	}
	if len(s.out) == 0 {
		s.ready.Set()
	}
	s.append(o)
}

// overread reports whether so many outcomes wait to be read, by the producer or by its whole peer, that no more
// tasks are taken from it.
func (s *Source) overread() bool {
	return len(s.out)+s.writing > MaxUnread || s.of.unread > PeerUnread
}

// write returns what is to be written. This counts as unread until the next call.
func (s *Source) write(buf []byte) []byte {
	out := s.out
	s.of.unread -= int64(s.writing)
	s.writing = len(out)
	s.out, s.echoed = buf[:0], 0
	return out
}

// append adds an outcome to what is to be written.
func (s *Source) append(o *frame.Outcome) {
	before := len(s.out)
	s.out = o.Append(s.out)
	s.of.unread += int64(len(s.out) - before)
}

// unwrite forgets what is to be written.
func (s *Source) unwrite() {
	s.of.unread -= int64(len(s.out) + s.writing)
	s.out, s.writing, s.echoed, s.again = nil, 0, 0, nil
}
