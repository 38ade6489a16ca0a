package frame

import (
	"cmp"
	"iter"
	"slices"
)

// Verdict is a subscriber's answers to messages that it was delivered.
type Verdict struct {
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

	// order is the highest order of the messages in Acks; see [Verdict.AddAck].
	order uint64
}

func (v *Verdict) empty() bool {
	return len(v.Acks)+len(v.Nacks)+len(v.Releases)+v.Credit == 0 && !v.Alive && !v.Reading && !v.Forget
}

// AddAck appends an ack of a message that was the order-th to be received. It extends the last
// range if it can. A publisher acks only those messages of a range that were sent before the
// last message of the range or before another message that was answered. A range may therefore
// be extended only by a message that was received after all others in the verdict.
func (v *Verdict) AddAck(seq, order uint64) {
	if n := len(v.Acks); n > 0 && v.Acks[n-1]+1 == seq && order > v.order {
		v.Acks[n-1] = seq
	} else {
		v.Acks = append(v.Acks, seq, seq)
	}
	v.order = max(v.order, order)
}

// AddAcks appends acks of messages in ascending order of their numbers. It acks the message that
// was received last before any range; see AddAck. The ranges contain no other messages, because
// a publisher may have sent these meanwhile, on another stream, and would take them as acked.
func (v *Verdict) AddAcks(list []Answer) {
	latest := slices.MaxFunc(list, func(a, b Answer) int { return cmp.Compare(a.Order, b.Order) })
	if latest.Order > v.order {
		v.AddAck(latest.Seq, latest.Order)
	}
	from := list[0].Seq
	for i, a := range list {
		switch {
		case i+1 == len(list):
			v.Acks = append(v.Acks, from, a.Seq)
		case list[i+1].Seq != a.Seq+1:
			v.Acks = append(v.Acks, from, a.Seq)
			from = list[i+1].Seq
		}
	}
}

// Answer is the number of a message, and its place in the order in which messages were received.
type Answer struct{ Seq, Order uint64 }

const (
	// MaxCause bounds the bytes of the cause of a nack.
	MaxCause = 256
	// verdictSize bounds the numbers in each list of a frame, and maxNacks those in the list of
	// nacks, which have causes.
	verdictSize = 4096
	maxNacks    = 256
)

// Parts yields the verdict in pieces that fit into a frame. Acks come last, because a range may span
// messages that are given back in the same verdict.
func (v *Verdict) Parts() iter.Seq[*Verdict] {
	return func(yield func(*Verdict) bool) {
		for !v.empty() {
			part := &Verdict{
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
