package journal

import (
	"iter"

	"github.com/linkmesh/link/protocol/internal/varint"
)

// Advance returns the position that a subscriber will have after it has read a frame that it
// received in an epoch: the same position that a [Tracker] will have then. A malformed record
// ends the frame, as it does for the [Reader].
func (p Position) Advance(c Class, epoch uint64, frame []byte) Position {
	for kind, body := range records(frame) {
		if p.Epoch != epoch && kind != KindTopic && kind != KindClock && kind != KindDelivery {
			p = Position{Epoch: epoch}
		}
		switch kind {
		case KindMessage:
			rec := Record{Priority: DefaultPriority}
			if _, problem := rec.parse(body, 0); problem != "" {
				return p
			}
			if lane := LaneOf(rec.Priority); c != Latest {
				p.Seq[lane] = max(p.Seq[lane], rec.Seq)
			}
		case KindGap:
			g, problem := parseGap(body)
			if problem != "" {
				return p
			}
			if c != Latest {
				p.Seq[g.Lane] = max(p.Seq[g.Lane], g.To)
			}
		case KindMark:
			m, problem := parseMark(body)
			if problem != "" {
				return p
			}
			for i := range p.Seq {
				p.Seq[i] = max(p.Seq[i], m.Seq)
			}
		case KindTopic, KindClock, KindDelivery:
		}
	}
	return p
}

// Messages yields the numbers of the messages in a frame.
func Messages(frame []byte) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for kind, body := range records(frame) {
			if kind != KindMessage || len(body) < 2 {
				continue
			}
			if seq, _, ok := varint.Cut(body[1:]); ok && !yield(seq) {
				return
			}
		}
	}
}

// GapsIn returns the number of GAP records in a frame.
func GapsIn(frame []byte) (n uint64) {
	for kind := range records(frame) {
		if kind == KindGap {
			n++
		}
	}
	return n
}

// records yields the kinds and bodies of the records in a frame, up to a malformed one.
func records(frame []byte) iter.Seq2[Kind, []byte] {
	return func(yield func(Kind, []byte) bool) {
		for len(frame) > 0 {
			body, rest, ok := varint.CutBytes(frame[1:])
			if !ok || !yield(Kind(frame[0]), body) {
				return
			}
			frame = rest
		}
	}
}
