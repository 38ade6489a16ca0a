package pool

import (
	"math"
	"slices"
	"time"
)

// MaxPrefetch bounds the tasks that wait here beyond the slots. The slots need about
// one round trip to do what waits, so a high bound does not cause long waits; 64 would
// cost tasks of microseconds a third of their rate.
const MaxPrefetch = 1024

// windows returns how many tasks all producers together may have here.
func (p *Pool) windows() int {
	capacity := p.Capacity()
	trip := p.roundTrip()
	if trip == 0 || p.service == 0 {
		return capacity
	}
	extra := math.Ceil(float64(trip) * float64(capacity) / max(p.service, 100))
	return capacity + int(min(extra, MaxPrefetch))
}

// roundTrip returns the longest round trip of the connected producers, in nanoseconds. For each
// producer the shortest recent one counts, since longer ones include waits in queues here.
func (p *Pool) roundTrip() int64 {
	var most int64
	for _, s := range p.sources {
		if s.connected && s.trips > 0 {
			most = max(most, slices.Min(s.trip[:min(s.trips, len(s.trip))]))
		}
	}
	return most
}

// Pong handles the answer to a PING. sent is the time of the PING in microseconds. Pong ignores
// an answer without a PING.
func (p *Pool) Pong(s *Source, sent uint64, now int64) {
	if !s.asked || sent != uint64(s.pinged/1000) {
		return
	}
	s.asked = false
	s.trip[s.trips%len(s.trip)] = min(max(now-s.pinged, 1), maxTrip)
	s.trips++
	p.share(now)
}

// maxTrip is the longest round trip that counts: a producer that answers later does not make
// the tasks of others wait here any longer.
const maxTrip = int64(time.Second)
