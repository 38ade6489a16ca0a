// Package hash has the hash functions by which processes agree on a choice without talking to each other. Their results
// are part of link's contract and never change.
package hash

// FNV1a is the 64-bit FNV-1a hash of s (RFC 9923). The last bytes of s alone hardly change its upper bits, so a choice
// by range needs [SplitMix] or [Murmur] on top.
func FNV1a(s string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return h
}

// Golden is 2⁶⁴ divided by the golden ratio: its multiples spread evenly (Knuth, "The Art of Computer Programming",
// volume 3, section 6.4), and it is the increment of SplitMix64.
const Golden = 0x9e3779b97f4a7c15

// SplitMix is the finalizer of SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014): a
// bijection in which each bit of the input changes about half of the bits of the result.
func SplitMix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Murmur is fmix64, the finalizer of MurmurHash3 (Appleby, public domain), another bijection of the same kind.
func Murmur(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
