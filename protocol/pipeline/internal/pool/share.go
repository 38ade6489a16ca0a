package pool

import (
	"math"
	"slices"
	"time"
)

// split divides total among those who want demand, max-min fair: nobody gets more
// than it wants while another has less than that other wants. What does not divide
// goes one by one, from the one at turn on, and split returns whose turn it is next.
// What nobody wants is divided evenly. With probe each gets at least one, beyond
// total if need be.
func split(total int, demand []int, turn int, probe bool) ([]int, int) {
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
		for _, j := range order[k:] { // the others want more than there is
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
		if probe {
			out[i] = max(out[i], 1)
		}
	}
	return out, next
}

// share divides the windows anew, if that is due.
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
	var demand []int
	for _, s := range p.sources {
		if s.connected {
			live = append(live, s)
		}
	}
	slices.SortFunc(live, func(a, b *Source) int { // the same division every time
		switch {
		case a.key < b.key:
			return -1
		case a.key > b.key:
			return 1
		}
		return 0
	})
	for _, s := range live {
		demand = append(demand, min(s.pending, math.MaxInt32)+s.held.Len())
	}
	if p.draining {
		total = 0
	}
	parts, next := split(total, demand, p.rotation, !p.draining && p.Capacity() >= len(live))
	p.rotation, p.starved = next, false
	for i, w := range parts {
		live[i].grant(w, now)
		p.starved = p.starved || w < demand[i] && w == 0
	}
}

func (s *Source) grant(w int, now int64) {
	if w < s.wish {
		s.allow = max(s.allowed(now), s.wish)
		s.shrunk = now
	}
	s.wish = w
	if !s.told || s.wish != s.window {
		s.wake()
	}
}

// windows is how many tasks all producers together may have here.
func (p *Pool) windows() int {
	capacity := p.Capacity()
	trip := p.roundTrip()
	if trip == 0 || p.service == 0 {
		return capacity
	}
	extra := math.Ceil(float64(trip) * float64(capacity) / max(p.service, 100))
	return capacity + int(min(extra, MaxPrefetch))
}

// roundTrip is that of the producer furthest away which has tasks here, of each the
// shortest of late: longer ones are our own queues.
func (p *Pool) roundTrip() int64 {
	var most int64
	for _, s := range p.sources {
		if s.connected && s.trips > 0 {
			most = max(most, slices.Min(s.trip[:min(s.trips, len(s.trip))]))
		}
	}
	return most
}

// Pong notes a round trip.
func (p *Pool) Pong(s *Source, trip time.Duration, now int64) {
	s.trip[s.trips%len(s.trip)] = int64(trip)
	s.trips++
	p.share(now)
}

// Backlog notes how many tasks wait at a producer.
func (p *Pool) Backlog(s *Source, pending uint64, now int64) {
	s.pending = int(min(pending, math.MaxInt32))
	p.stale = true
	if now-p.shared >= shareEvery || s.window == 0 {
		p.share(now)
	}
}

// Work is what is to be written to a producer.
type Work struct {
	Outcomes []byte
	Window   bool // the two that follow are to be told
	Tasks    int
	Bytes    int64
	Ping     bool
	Alive    []uint64 // tasks that are here, if the producer is to be told
	Leaving  bool
}

// Take returns what is to be written to a producer; buf is to be used for what comes
// next, as the outcomes are the caller's.
func (p *Pool) Take(s *Source, buf []byte, now int64) Work {
	w := Work{Outcomes: s.out, Leaving: p.draining}
	s.out, s.echoed = buf[:0], 0
	if !s.told || s.window != s.wish {
		s.told, s.window = true, s.wish
		w.Window, w.Tasks = true, s.wish
		w.Bytes = max(p.opts.HeldBytes*int64(s.wish)/int64(max(p.total, 1)), 1<<20)
	}
	if s.pingDue {
		s.pingDue, s.pinged, w.Ping = false, now, true
	}
	if now-s.alive >= int64(p.opts.Lease)/3 {
		s.alive = now
		for t := range s.held.All {
			w.Alive = append(w.Alive, t.Seq)
		}
	}
	return w
}
