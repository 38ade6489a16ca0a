package journal

import (
	"slices"
	"sort"
)

// gaps are the gaps that a lane has yet to tell, ordered by From. Between two messages there is
// at most one gap for each reason, except for messages that were to come again, so there are
// only a few for each message. The work for one gap does not depend on how many there are.
type gaps struct {
	list []Gap
	// head is the index of the first gap in list.
	head int
}

const (
	// nearGaps is how many gaps before its place are tried to merge a gap into: the gaps on
	// both sides of a message.
	nearGaps = 2 * Reasons
	// idleGaps is the capacity that an empty list keeps at most.
	idleGaps = 64
)

// all returns the gaps. The slice is valid until they change.
func (g *gaps) all() []Gap { return g.list[g.head:] }

func (g *gaps) len() int { return len(g.list) - g.head }

// before returns how many gaps begin before a number.
func (g *gaps) before(seq uint64) int {
	list := g.all()
	return sort.Search(len(list), func(i int) bool { return list[i].From >= seq })
}

// add notes that messages are missing. after is the number of the message before them that
// is still to be delivered, zero if there is none. Messages that are missing on the same side
// of it for the same reason become one gap.
func (g *gaps) add(n Gap, after uint64) {
	at := g.before(n.From + 1)
	if !g.mergeNear(at, n, after) {
		g.put(at, n)
	}
}

// mergeNear merges a gap into one of the same reason that comes before index at and behind
// message after, and reports whether there is one.
func (g *gaps) mergeNear(at int, n Gap, after uint64) bool {
	list := g.all()
	for i := at - 1; i >= max(at-nearGaps, 0) && list[i].From > after; i-- {
		if list[i].exact && (n.From != list[i].To+1 || n.Count != n.To-n.From+1) {
			continue
		}
		if list[i].merge(n) {
			return true
		}
	}
	return false
}

// close merges the gaps of each reason on the two sides of message seq, which is missing too.
// next is the number of the next message that is not missing.
func (g *gaps) close(seq, next uint64) {
	for at := g.before(seq + 1); at < g.len() && g.all()[at].From < next; {
		if g.mergeNear(at, g.all()[at], 0) {
			g.cut(at)
		} else {
			at++
		}
	}
}

// join is add for gaps with no messages between them: all gaps of one reason become one.
func (g *gaps) join(n Gap) {
	list := g.all()
	for i := range list {
		if list[i].merge(n) {
			return
		}
	}
	g.put(len(list), n)
}

// pop removes the first gap.
func (g *gaps) pop() Gap {
	first := g.list[g.head]
	g.cut(0)
	return first
}

// mix inserts gaps, which are in ascending order, each before those with the same From.
func (g *gaps) mix(more []Gap) {
	if len(more) == 0 {
		return
	}
	list := g.all()
	mixed := make([]Gap, 0, len(list)+len(more))
	for _, n := range list {
		for len(more) > 0 && more[0].From <= n.From {
			mixed, more = append(mixed, more[0]), more[1:]
		}
		mixed = append(mixed, n)
	}
	g.list, g.head = append(mixed, more...), 0
}

// put inserts a gap at an index. It makes room by moving the shorter side of the list.
func (g *gaps) put(at int, n Gap) {
	if at >= g.len()/2 {
		if g.head > len(g.list)/2 && len(g.list) == cap(g.list) {
			g.move(0)
		}
		g.list = slices.Insert(g.list, g.head+at, n)
		return
	}
	if g.head == 0 {
		g.move(g.len()/2 + 1)
	}
	g.head--
	list := g.all()
	copy(list, list[1:at+1])
	list[at] = n
}

// move copies the gaps to a new list that has room for so many gaps in front of them.
func (g *gaps) move(room int) {
	list := make([]Gap, room+g.len(), 2*(room+g.len()))
	copy(list[room:], g.all())
	g.list, g.head = list, room
}

// cut removes the gap at an index. It closes the hole by moving the shorter side of the list.
func (g *gaps) cut(at int) {
	switch list := g.all(); {
	case at < len(list)/2:
		copy(list[1:], list[:at])
		g.head++
	default:
		g.list = slices.Delete(g.list, g.head+at, g.head+at+1)
	}
	if g.len() > 0 {
		return
	}
	if g.list, g.head = g.list[:0], 0; cap(g.list) > idleGaps {
		g.list = nil
	}
}
