package journal

import (
	"slices"
	"sort"
)

// gaps are what a lane has yet to tell, by From. Between two messages there is at most one for
// each reason, but for those of messages that were to come again; so there are not more than a
// few for each message. What is done for one gap does not depend on how many there are.
type gaps struct {
	list []Gap
	head int // the first that is there
}

const (
	// nearGaps is how far from its place a gap looks for one that it belongs to: the gaps on
	// both sides of a message.
	nearGaps = 2 * Reasons
	// idleGaps is the room that an empty list keeps.
	idleGaps = 64
)

// all returns the gaps, until they change.
func (g *gaps) all() []Gap { return g.list[g.head:] }

func (g *gaps) len() int { return len(g.list) - g.head }

// before returns how many begin before a number.
func (g *gaps) before(seq uint64) int {
	list := g.all()
	return sort.Search(len(list), func(i int) bool { return list[i].From >= seq })
}

// add notes that messages are missing. after is the number of the message before
// them that is still to be delivered, zero if there is none: what is missing on the
// same side of it for the same reason becomes one gap.
func (g *gaps) add(n Gap, after uint64) {
	at := g.before(n.From + 1)
	if !g.mergeNear(at, n, after) {
		g.put(at, n)
	}
}

// mergeNear makes a gap part of one that comes before a place and behind a message, and
// reports whether there is one for its reason.
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

// close makes one of the gaps of each reason that were on the two sides of a message, which is
// missing too, and come before the next one.
func (g *gaps) close(seq, next uint64) {
	for at := g.before(seq + 1); at < g.len() && g.all()[at].From < next; {
		if g.mergeNear(at, g.all()[at], 0) {
			g.cut(at)
		} else {
			at++
		}
	}
}

// join is add where nothing is between gaps: those of one reason become one.
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

// mix puts gaps that ascend among the others, each before those that begin where it does.
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

// put makes room from the nearer end of the list.
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

// move makes room for so many before the gaps, or lets go of what room is there.
func (g *gaps) move(room int) {
	list := make([]Gap, room+g.len(), 2*(room+g.len()))
	copy(list[room:], g.all())
	g.list, g.head = list, room
}

// cut closes the place of a gap from the nearer end of the list.
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
