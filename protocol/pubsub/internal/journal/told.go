package journal

import (
	"cmp"
	"slices"
	"unsafe"
)

// toldGap is a gap that the subscriber was told of, and may not have received.
type toldGap struct {
	Gap
	// after is how many deliveries came before the gap.
	after uint64
	// n is how many gaps this one stands for, together with those behind it whose n is zero.
	n uint64
}

// maxTold is how many told gaps a window remembers: all that one frame tells of messages that were
// to come again, and 1024 more. Beyond that, the older half is condensed to one gap for each lane
// and reason between two deliveries; where there is no room, all gaps are. So there are more gaps
// only where as many messages wait for their acks.
const maxTold = MaxAgain + 1024

// maxApart is how many gaps of messages that were to come again stay apart when gaps are condensed,
// so that the subscriber knows of each of these messages, whatever its lane.
const maxApart = 16

const toldCost = int(unsafe.Sizeof(toldGap{}))

// tell notes that the subscriber was told of a gap. If its part of Options.Unacked is in use, all
// gaps are condensed, and the rest is counted even beyond the limit. They are condensed again only
// when there are twice as many as were left.
func (w *window) tell(g Gap) {
	if len(w.gaps) >= max(maxTold, 4*w.few) {
		w.condense(len(w.gaps) / 2)
	}
	if w.holder.Take(int64(toldCost)) != nil {
		if len(w.gaps) >= 2*w.few {
			w.condense(len(w.gaps))
		}
		w.holder.Add(int64(toldCost))
	}
	w.cost += toldCost
	w.gaps = append(w.gaps, toldGap{g, w.sends, 1})
}

// condense merges the oldest gaps into a few that are less exact; none is forgotten. Gaps stay apart
// where a delivery of their lane lies between them: a subscriber that has received a gap goes on
// behind it, and may not have that delivery.
func (w *window) condense(oldest int) {
	if oldest == 0 {
		return
	}
	old, rest := w.gaps[:oldest], w.gaps[oldest:]
	var exact, joined []Gap
	// newest is, for each lane and reason, one more than the index of its last gap in joined.
	var newest [Lanes][Reasons]int
	var n uint64
	for _, g := range old {
		n += g.n
		if k := len(exact); g.exact && k > 0 && exact[k-1].To+1 == g.From {
			exact[k-1].merge(g.Gap)
			continue
		} else if g.exact && k < maxApart {
			exact = append(exact, g.Gap)
			continue
		}
		k := &newest[g.Lane][g.Reason]
		if *k > 0 {
			last := &joined[*k-1]
			// A restart needs to be told only once.
			if *last == g.Gap && g.From == 0 || !w.between(*last, g.Gap) && last.merge(g.Gap) {
				continue
			}
		}
		joined = append(joined, g.Gap)
		*k = len(joined)
	}
	last := old[len(old)-1].after
	w.few = len(exact) + len(joined)
	few := make([]toldGap, 0, w.few+len(rest))
	for _, g := range append(exact, joined...) {
		few = append(few, toldGap{g, last, n})
		n = 0
	}
	w.grow((len(few) - len(old)) * toldCost)
	w.gaps = append(few, rest...)
}

// between reports whether a delivery lies between two gaps of one lane, and is of that lane.
func (w *window) between(a, b Gap) (found bool) {
	w.list.from(min(a.To, b.To)+1, func(d *delivery) bool {
		if d.seq >= max(a.From, b.From) {
			return false
		}
		found = int(d.lane) == a.Lane
		return !found
	})
	return found
}

// heard notes how many gaps the subscriber has received in this session.
func (w *window) heard(gaps uint64) {
	i, left := 0, gaps-min(gaps, w.told)
	for i < len(w.gaps) && w.gaps[i].n <= left {
		left -= w.gaps[i].n
		i++
	}
	w.arrived(i)
}

// arrived removes the first n gaps from those that may have to be told again.
func (w *window) arrived(n int) {
	for _, g := range w.gaps[:n] {
		w.told += g.n
	}
	w.grow(-n * toldCost)
	if w.gaps = w.gaps[n:]; len(w.gaps) == 0 {
		w.gaps = nil
	}
	w.few = min(w.few, len(w.gaps))
}

// answered notes that the subscriber has received a delivery, and therefore everything that
// was written to its stream before it.
func (w *window) answered(d *delivery) {
	// If the message waits for redelivery, the answer is to an earlier delivery.
	if w.waits(d) {
		return
	}
	w.received = max(w.received, d.order)
	n := 0
	for n < len(w.gaps) && w.gaps[n].after < w.received {
		n++
	}
	w.arrived(n)
}

// tellAgain queues the gaps that the subscriber may not have received, to tell them again.
func (s *share) tellAgain(c *Cursor) {
	w := c.window
	var lanes [Lanes][]Gap
	if s.group != nil && c.backlog.holder.Lacks(int64(len(w.gaps))*(int64(taskCost)+gapCost)) {
		w.condense(len(w.gaps))
	}
	for _, told := range w.gaps {
		if g := told.Gap; s.group != nil {
			s.group.back.push(task{seq: g.From, gap: &g}, c.backlog)
		} else {
			lanes[g.Lane] = append(lanes[g.Lane], g)
		}
	}
	w.grow(-len(w.gaps) * toldCost)
	w.gaps, w.few = nil, 0
	for i, list := range lanes {
		slices.SortStableFunc(list, func(a, b Gap) int { return cmp.Compare(a.From, b.From) })
		s.feed.lanes[i].gaps.mix(list)
	}
}
