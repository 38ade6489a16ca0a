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

// verdict is what a subscriber says of messages that it was delivered.
type verdict struct {
	Acks     []uint64 `cbor:"1,keyasint,omitempty"` // first and last of each range
	Nacks    []uint64 `cbor:"2,keyasint,omitempty"` // number, and delay in microseconds plus 1; 0 is the backoff list
	Releases []uint64 `cbor:"3,keyasint,omitempty"`
	Alive    bool     `cbor:"4,keyasint,omitempty"` // the leases of all that is under way start anew
	Credit   int      `cbor:"5,keyasint,omitempty"` // more messages that this member of a group has room for
	Causes   []string `cbor:"6,keyasint,omitempty"` // one for each nack
	Forget   bool     `cbor:"8,keyasint,omitempty"` // the durable session ends with this stream
	Reading  bool     `cbor:"7,keyasint,omitempty"` // messages were taken that came before; there are more
	Read     uint64   `cbor:"9,keyasint,omitempty"` // with Reading: how many of this stream

	order uint64 // of what Acks has, the latest to be received; see [verdict.addAck]
}

func (v *verdict) empty() bool {
	return len(v.Acks)+len(v.Nacks)+len(v.Releases)+v.Credit == 0 && !v.Alive && !v.Reading && !v.Forget
}

// addAck appends an ack of a message that was received as number order, to the last range
// where it can. Of a range a publisher takes what was sent before its last message, or before
// another that was answered: so the last one to be received is said before others are joined.
func (v *verdict) addAck(seq, order uint64) {
	if n := len(v.Acks); n > 0 && v.Acks[n-1]+1 == seq && order > v.order {
		v.Acks[n-1] = seq
	} else {
		v.Acks = append(v.Acks, seq, seq)
	}
	v.order = max(v.order, order)
}

// addAcks appends acks of messages that ascend. The ranges have nothing but these: a publisher
// that has sent others meanwhile, on another stream, could take these to be acked too.
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

// answer is the number of a message, and which of all that were received it is.
type answer struct{ seq, order uint64 }

// apply does what the subscriber has said. What it says of a cursor that is closed comes
// too late, which it could not know: that ends no session. Whoever closed the cursor does,
// and says why.
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
	// Acks come last: a range may span what was given back, which it does not ack then.
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

// proves reports whether the subscriber says of more messages than before that it has read them,
// and of no more than it can have.
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

// verdictSize bounds the numbers in a list of one frame, and maxNacks those of nacks,
// which have causes of up to maxCause bytes.
const (
	verdictSize = 4096
	maxNacks    = 256
	maxCause    = 256
)

// parts yields the verdict in pieces that fit a frame, acks last: see [session.apply].
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

// cut takes at most n from the front of a list.
func cut[E any](list *[]E, n int) []E {
	n = min(n, len(*list))
	head := (*list)[:n:n]
	*list = (*list)[n:]
	return head
}
