package journal

import (
	"errors"

	"github.com/linkmesh/link/protocol/internal/varint"
)

// Position says how far a subscriber has come: in each lane it was delivered, or told of, all
// messages up to and including this number. Zero is before the first message.
type Position struct {
	Epoch uint64
	Seq   [Lanes]uint64
}

// Least returns the number up to which nothing is missing in any lane.
func (p Position) Least() uint64 { return min(p.Seq[0], p.Seq[1], p.Seq[2]) }

// ErrPosition is the error for bytes that do not hold a position.
var ErrPosition = errors.New("journal: malformed position")

// Append appends the position to b: the epoch in eight bytes, big endian, because it is a
// random number, and a varint for each lane.
func (p Position) Append(b []byte) []byte {
	for shift := 56; shift >= 0; shift -= 8 {
		b = append(b, byte(p.Epoch>>shift))
	}
	for _, seq := range p.Seq {
		b = varint.Append(b, min(seq, varint.Max))
	}
	return b
}

// ParsePosition reads what [Position.Append] wrote, and returns the bytes that follow it. The
// error is [ErrPosition].
func ParsePosition(b []byte) (p Position, rest []byte, err error) {
	if len(b) < 8 {
		return Position{}, nil, ErrPosition
	}
	for _, c := range b[:8] {
		p.Epoch = p.Epoch<<8 | uint64(c)
	}
	b = b[8:]
	for i := range p.Seq {
		var ok bool
		if p.Seq[i], b, ok = varint.Cut(b); !ok {
			return Position{}, nil, ErrPosition
		}
	}
	return p, b, nil
}
