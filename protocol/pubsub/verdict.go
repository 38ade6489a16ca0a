package pubsub

import (
	"cmp"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/linkmesh/link/internal/foreign"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// verdict is a subscriber's answers to messages that it was delivered.
type verdict struct {
	// Acks holds the first and last number of each range.
	Acks []uint64 `cbor:"1,keyasint,omitempty"`
	// Nacks holds for each message its number, and the delay in microseconds plus 1; 0 stands
	// for the backoff of the subscription. Causes has one element for each nack.
	Nacks    []uint64 `cbor:"2,keyasint,omitempty"`
	Releases []uint64 `cbor:"3,keyasint,omitempty"`
	// Alive renews the leases of all messages in flight.
	Alive bool `cbor:"4,keyasint,omitempty"`
	// Credit is for how many more messages this member of a group has room.
	Credit int      `cbor:"5,keyasint,omitempty"`
	Causes []string `cbor:"6,keyasint,omitempty"`
	// Forget ends the durable session with this stream.
	Forget bool `cbor:"8,keyasint,omitempty"`
	// Reading reports that the subscriber reads, while messages wait. Read is then how many
	// messages of this stream it has read.
	Reading bool   `cbor:"7,keyasint,omitempty"`
	Read    uint64 `cbor:"9,keyasint,omitempty"`

	// order is the highest order of the messages in Acks; see [verdict.addAck].
	order uint64
}

func (v *verdict) empty() bool {
	return len(v.Acks)+len(v.Nacks)+len(v.Releases)+v.Credit == 0 && !v.Alive && !v.Reading && !v.Forget
}

// addAck appends an ack of a message that was the order-th to be received. It extends the last
// range if it can. A publisher acks only those messages of a range that were sent before the
// last message of the range or before another message that was answered. A range may therefore
// be extended only by a message that was received after all others in the verdict.
func (v *verdict) addAck(seq, order uint64) {
	if n := len(v.Acks); n > 0 && v.Acks[n-1]+1 == seq && order > v.order {
		v.Acks[n-1] = seq
	} else {
		v.Acks = append(v.Acks, seq, seq)
	}
	v.order = max(v.order, order)
}

// addAcks appends acks of messages in ascending order of their numbers. It acks the message that
// was received last before any range; see addAck. The ranges contain no other messages, because
// a publisher may have sent these meanwhile, on another stream, and would take them as acked.
func (v *verdict) addAcks(list []answer) {
	latest := slices.MaxFunc(list, func(a, b answer) int { return cmp.Compare(a.order, b.order) })
	if latest.order > v.order {
		v.addAck(latest.seq, latest.order)
	}
	from := list[0].seq
	for i, a := range list {
		switch {
		case i+1 == len(list):
			v.Acks = append(v.Acks, from, a.seq)
		case list[i+1].seq != a.seq+1:
			v.Acks = append(v.Acks, from, a.seq)
			from = list[i+1].seq
		}
	}
}

// answer is the number of a message, and its place in the order in which messages were received.
type answer struct{ seq, order uint64 }

// apply applies a verdict. A verdict on a closed cursor came too late, which the subscriber could
// not know, so it is ignored: whoever closed the cursor ends the session with the reason.
func (s *session) apply(v *verdict) error {
	if err := s.judge(v); !errors.Is(err, journal.ErrClosed) {
		return err
	}
	return nil
}

func (s *session) judge(v *verdict) error {
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
func (s *session) proves(v *verdict) bool {
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

// verdictSize bounds the numbers in each list of a frame. maxNacks bounds the numbers in the
// list of nacks, which have causes of up to maxCause bytes.
const (
	verdictSize = 4096
	maxNacks    = 256
	maxCause    = 256
)

// parts yields the verdict in pieces that fit into a frame, acks last; see [session.judge].
func (v *verdict) parts() iter.Seq[*verdict] {
	return func(yield func(*verdict) bool) {
		for !v.empty() {
			part := &verdict{
				Nacks: cut(&v.Nacks, maxNacks), Causes: cut(&v.Causes, maxNacks/2),
				Releases: cut(&v.Releases, verdictSize), Alive: v.Alive, Credit: v.Credit, Reading: v.Reading, Read: v.Read, Forget: v.Forget,
			}
			if len(v.Nacks)+len(v.Releases) == 0 {
				part.Acks = cut(&v.Acks, verdictSize)
			}
			v.Credit, v.Alive, v.Reading, v.Forget = 0, false, false, false
			if !yield(part) {
				return
			}
		}
	}
}

// cut removes up to n elements from the front of a list and returns them.
func cut[E any](list *[]E, n int) []E {
	n = min(n, len(*list))
	head := (*list)[:n:n]
	*list = (*list)[n:]
	return head
}
