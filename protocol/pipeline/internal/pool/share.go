package pool

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// split divides total by demand, max-min fair: nobody gets more than it demands while
// another gets less than it demands. What cannot be divided evenly is given out one by
// one, beginning with the one at turn, and split returns whose turn it is next. What
// nobody demands is divided evenly.
func split(total int, demand []int, turn int) ([]int, int) {
	n := len(demand)
	out := make([]int, n)
	if n == 0 {
		return out, 0
	}
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return demand[a] - demand[b] })
	left := total
	for k, i := range order {
		level := left / (n - k)
		if demand[i] <= level {
			out[i] = demand[i]
			left -= demand[i]
			continue
		}
		// The others demand more than is left.
		for _, j := range order[k:] {
			out[j] = level
			left -= level
		}
		break
	}
	next := turn % n
	for k := range n {
		i := (turn + k) % n
		if left > 0 && out[i] < demand[i] {
			out[i]++
			left--
			next = (i + 1) % n
		}
	}
	even := left / n
	for i := range out {
		out[i] += even
	}
	return out, next
}

// share divides the windows anew, if they are stale or their total has changed much.
func (p *Pool) share(now int64) {
	total := p.windows()
	if d := total - p.total; d > p.total/8 || -d > p.total/8 {
		p.stale = true
	}
	if !p.stale {
		return
	}
	p.stale, p.shared, p.total = false, now, total
	var live []*Source
	for _, s := range p.sources {
		switch {
		case !s.connected:
		case p.leaves(s):
			s.grant(0, now)
		default:
			live = append(live, s)
		}
	}
	// The order makes the division the same every time.
	slices.SortFunc(live, func(a, b *Source) int {
		return cmp.Or(strings.Compare(a.of.place(), b.of.place()), strings.Compare(a.key, b.key))
	})
	parts := make([]int, len(live))
	before := p.turns
	p.turns = make(map[turn]int, len(before))
	p.divide(live, parts, total, turn{level: byPlace}, before)
	probe := p.Capacity() >= len(live)
	p.starved = false
	for i, s := range live {
		if probe {
			parts[i] = max(parts[i], 1)
		}
		s.grant(parts[i], now)
		p.starved = p.starved || parts[i] == 0 && s.demand() > 0
	}
}

// The levels at which windows are divided.
const (
	byPlace = iota
	byPeer
	byQueue
)

// turn names a set among which windows are divided: the members at a level that belong to
// one member of the level above.
type turn struct {
	level int
	of    string
}

func (s *Source) at(level int) string {
	switch level {
	case byPlace:
		return s.of.place()
	case byPeer:
		return s.of.key.Name
	default:
		return s.key
	}
}

// demand returns how many tasks a source could have here.
func (s *Source) demand() int { return min(s.pending, math.MaxInt32-s.held.Len()) + s.held.Len() }

// divide divides total among live, which is sorted, and sets parts: first among the members at a
// level, then within each of them. before are the turns of the last time.
func (p *Pool) divide(live []*Source, parts []int, total int, at turn, before map[turn]int) {
	var starts, demand []int
	for i, s := range live {
		if i == 0 || s.at(at.level) != live[i-1].at(at.level) {
			starts, demand = append(starts, i), append(demand, 0)
		}
		n := &demand[len(demand)-1]
		*n = min(*n, math.MaxInt32-s.demand()) + s.demand()
	}
	shares, next := split(total, demand, before[at])
	p.turns[at] = next
	for i, from := range starts {
		if at.level == byQueue {
			parts[from] = shares[i]
			continue
		}
		to := len(live)
		if i+1 < len(starts) {
			to = starts[i+1]
		}
		p.divide(live[from:to], parts[from:to], shares[i], turn{at.level + 1, live[from].at(at.level)}, before)
	}
}

// few is up to how many sources windows are divided at once. With more sources that happens
// every shareEvery.
const few = 64

// reshare divides the windows anew, at once or soon.
func (p *Pool) reshare(now int64) {
	p.stale = true
	if now-p.shared >= shareEvery || len(p.sources) <= few {
		p.share(now)
	}
}

func (s *Source) grant(w int, now int64) {
	if w < s.wish {
		s.allow = max(s.allowed(now), s.wish)
		s.shrunk = now
	}
	s.wish = w
	if !s.told || s.wish != s.window {
		s.ready.Set()
	}
}

// Backlog notes how many tasks wait at a producer.
func (p *Pool) Backlog(s *Source, pending uint64, now int64) {
	s.pending = int(min(pending, math.MaxInt32))
	if s.window == 0 || now-p.shared >= shareEvery {
		p.reshare(now)
		return
	}
	p.stale = true
}
