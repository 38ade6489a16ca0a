package journal

// trackerWindow is how many numbers above its position the tracker of a Latest
// subscription remembers. A resumed subscription repeats messages from there.
const trackerWindow = 1 << 20

// Tracker keeps the position of a subscriber while it reads. It is not safe for
// concurrent use. AtLeastOnce does not need it: its position is given by its acks.
//
// Messages of Latest do not come in the order of their numbers. Their position is what the
// publisher's marks say, and the tracker remembers up to 2^20 numbers above it.
type Tracker struct {
	latest bool
	pos    Position
	// next is the beginning of another epoch, until a record of that epoch has come.
	next *Position
	// seen is a ring of bits, one for each number above the least position.
	seen []uint64
}

// NewTracker returns a tracker for a subscription that starts at a position, which is zero
// if it does not start at one.
func NewTracker(c Class, p Position) *Tracker {
	return &Tracker{latest: c == Latest, pos: p}
}

// Restart tells the tracker the epoch that the publisher's answer to a subscribe contains.
// The position stays in the old epoch until the first record has come, which is the gap that
// tells of the restart. If that gap does not arrive, it is told again.
func (t *Tracker) Restart(epoch uint64) {
	t.next = nil
	if t.pos.Epoch != epoch {
		t.next = &Position{Epoch: epoch}
	}
}

// Position returns the position from which a subscription would continue.
func (t *Tracker) Position() Position { return t.pos }

// Observe takes note of a record and reports whether it is new. It returns false for a
// message that was observed before.
func (t *Tracker) Observe(rec *Record) bool {
	if t.next != nil {
		t.pos, t.next, t.seen = *t.next, nil, nil
	}
	switch rec.Kind {
	case KindMessage:
		if t.latest {
			return t.mark(rec.Seq)
		}
		lane := LaneOf(rec.Priority)
		if rec.Seq <= t.pos.Seq[lane] {
			return false
		}
		t.pos.Seq[lane] = rec.Seq
	case KindGap:
		if !t.latest {
			t.pos.Seq[rec.Gap.Lane] = max(t.pos.Seq[rec.Gap.Lane], rec.Gap.To)
		}
	case KindMark:
		t.advance(rec.Mark.Seq)
	case KindTopic, KindClock, KindDelivery:
	}
	return true
}

// advance moves all lanes up to seq.
func (t *Tracker) advance(seq uint64) {
	old := t.pos.Least()
	switch {
	case t.seen == nil || seq <= old:
	case seq-old >= trackerWindow:
		clear(t.seen)
	default:
		for n := old + 1; n <= seq; n++ {
			if n%64 == 0 && n+63 <= seq {
				t.seen[n/64%uint64(len(t.seen))] = 0
				n += 63
			} else {
				t.seen[n/64%uint64(len(t.seen))] &^= 1 << (n % 64)
			}
		}
	}
	for i := range t.pos.Seq {
		t.pos.Seq[i] = max(t.pos.Seq[i], seq)
	}
}

// mark notes a number of a Latest subscription, and reports whether it is new.
func (t *Tracker) mark(seq uint64) bool {
	least := t.pos.Least()
	switch {
	case seq <= least:
		return false
	case seq-least > trackerWindow:
		// The number is too far ahead to be remembered, so the message may come again.
		return true
	}
	if t.seen == nil {
		t.seen = make([]uint64, trackerWindow/64+1)
	}
	word, bit := &t.seen[seq/64%uint64(len(t.seen))], uint64(1)<<(seq%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}
