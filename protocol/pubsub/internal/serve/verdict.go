package serve

import (
	"errors"
	"time"

	"github.com/linkmesh/link/internal/foreign"
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// apply applies a verdict. A verdict on a closed cursor came too late, which the subscriber could
// not know, so it is ignored: whoever closed the cursor ends the session with the reason.
func (s *session) apply(v *frame.Verdict) error {
	if err := s.judge(v); !errors.Is(err, journal.ErrClosed) {
		return err
	}
	return nil
}

func (s *session) judge(v *frame.Verdict) error {
	now := time.Now()
	if v.Forget {
		s.forget.Store(true)
	}
	answered := s.cursor.Answered()
	if len(v.Acks)%2 != 0 || len(v.Nacks) != 2*len(v.Causes) {
		return errors.New("a verdict with half a pair, or with nacks and causes that do not match")
	}
	if v.Credit < 0 {
		return errors.New("a verdict with negative credit")
	}
	if v.Credit > 0 {
		s.cursor.AddCredit(v.Credit, now)
	}
	// Acks come last: a range may span messages that were given back, and must not ack these.
	for i := 0; i < len(v.Nacks); i += 2 {
		delay := time.Duration(-1)
		if d := v.Nacks[i+1]; d > 0 {
			delay = time.Duration(min(d-1, maxDelay)) * time.Microsecond
		}
		if err := s.cursor.Nack(now, v.Nacks[i], delay, foreign.Text(v.Causes[i/2])); err != nil {
			return err
		}
	}
	for _, seq := range v.Releases {
		if err := s.cursor.Release(now, seq); err != nil {
			return err
		}
	}
	for i := 0; i < len(v.Acks); i += 2 {
		if _, err := s.cursor.Ack(now, journal.Range{From: v.Acks[i], To: v.Acks[i+1]}); err != nil {
			return err
		}
	}
	if v.Alive {
		if err := s.cursor.ExtendAll(now); err != nil {
			return err
		}
	}
	switch proved := s.proves(v); {
	case proved || s.cursor.Answered() > answered:
		s.moves()
	case v.Reading:
		s.waits()
	}
	return nil
}

// proves reports whether a verdict proves progress: the subscriber has read more messages than
// before, and no more than were sent to it.
func (s *session) proves(v *frame.Verdict) bool {
	sent := s.sent.Load()
	s.credited += uint64(min(v.Credit, journal.MaxCredit))
	more := v.Credit > 0 && s.credited <= sent
	if v.Reading && s.readSoFar < v.Read && v.Read <= sent {
		s.readSoFar, more = v.Read, true
	}
	return more
}

// maxDelay is the longest delay of a nack, in microseconds: 12 days.
const maxDelay = 1 << 40
