package policy

import (
	"math"
	"math/bits"

	"github.com/linkmesh/link/internal/hash"
	"github.com/linkmesh/link/topology"
)

// whole is the sum of the shares of a split.
const whole = 100

// split is a compiled Split. Its targets are sorted by name; at least one has a share above zero.
type split struct {
	targets []splitTarget

	// salt makes random choices independent of those for other services.
	salt uint64
}

// splitTarget is a target of a split; seed is a hash of service and target.
type splitTarget struct {
	plan  *Plan
	share int
	seed  uint64
}

// byChance chooses a target with the probability of its share.
func (s *split) byChance(random uint64) *Plan {
	point, _ := bits.Mul64(hash.Murmur(random^s.salt), whole)
	for i := range s.targets {
		t := &s.targets[i]
		if point < uint64(t.share) {
			return t.plan
		}
		point -= uint64(t.share)
	}
	// This is not reached: the shares add up to whole.
	return s.targets[len(s.targets)-1].plan
}

// byKey chooses a target by weighted rendezvous hashing: the highest share/-ln(u) wins. With u
// uniform, -ln(u)/share is exponential with rate share, so the probability that a target has the
// least value is its share. For a given key, the value of a target depends only on its own share, so
// a change of shares moves keys only to targets that grew in proportion.
func (s *split) byKey(key uint64) *Plan {
	best, highest := 0, -1.0
	for i := range s.targets {
		t := &s.targets[i]
		if t.share == 0 {
			continue
		}
		// u is 52 bits plus one half: exact, above 0 and below 1.
		u := (float64(hash.Murmur(key^t.seed)>>12) + 0.5) / (1 << 52)
		if score := float64(t.share) / -math.Log(u); score > highest {
			best, highest = i, score
		}
	}
	return s.targets[best].plan
}

// drawn returns true for the given share of all random numbers.
func drawn(random uint64, share topology.Percent) bool {
	return float64(hash.Murmur(random)>>11)/(1<<53) < float64(share)/100
}

// Salts that make the choices made with the same random number independent.
const (
	saltSplit  = 0x9e3779b97f4a7c15
	saltMirror = 0xbf58476d1ce4e5b9
	saltFault  = 0x94d049bb133111eb
)

// targetSeed returns a seed that differs for each target of each service. No name holds a zero byte.
func targetSeed(service, target string) uint64 { return hashOf(service + "\x00" + target) }

// hashOf returns the hash of s. It is part of the contract: all processes of a mesh must agree on it.
func hashOf(s string) uint64 { return hash.Murmur(hash.FNV1a(s)) }
