package topology

import (
	"math"
	"math/bits"
)

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
	point, _ := bits.Mul64(mix(random^s.salt), whole)
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
		u := (float64(mix(key^t.seed)>>12) + 0.5) / (1 << 52)
		if score := float64(t.share) / -math.Log(u); score > highest {
			best, highest = i, score
		}
	}
	return s.targets[best].plan
}

// drawn returns true for the given share of all random numbers.
func drawn(random uint64, share Percent) bool {
	return float64(mix(random)>>11)/(1<<53) < share.fraction()
}

// Salts that make the choices made with the same random number independent.
const (
	saltSplit  = 0x9e3779b97f4a7c15
	saltMirror = 0xbf58476d1ce4e5b9
	saltFault  = 0x94d049bb133111eb
)

// targetSeed returns a seed that differs for each target of each service. No name holds a zero byte.
func targetSeed(service, target string) uint64 { return hash(service + "\x00" + target) }

// hash is 64-bit FNV-1a (RFC 9923) with a finalizer, because the last bytes of s alone hardly change
// the upper bits of FNV-1a. It is part of the contract: all processes of a mesh must agree on it.
func hash(s string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(s) {
		h ^= uint64(s[i])
		h *= 0x100000001b3
	}
	return mix(h)
}

// mix is fmix64, the finalizer of MurmurHash3 (Appleby, public domain): each bit of the input
// changes each bit of the output with a probability of about one half.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return h
}
