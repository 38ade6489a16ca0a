package balance

import "math/bits"

// drawPair maps r to two distinct indexes below n, n ≥ 2, in random order. The
// bias of scaling 32 bits is below n/2³².
func drawPair(n int, r uint64) (first, second int) {
	first = scale(uint32(r>>32), n)
	second = scale(uint32(r), n-1)
	if second >= first {
		second++
	}
	return first, second
}

func scale(r uint32, n int) int { return int(uint64(r) * uint64(n) >> 32) }

// draws is sampling without replacement of up to MaxTried+2 indexes.
type draws struct {
	size  int
	state uint64
	n     int
	drawn [MaxTried + 2]int // sorted
}

// next returns an index that was not drawn before, each equally likely, or false
// when none is left.
func (d *draws) next() (int, bool) {
	if d.n == d.size || d.n == len(d.drawn) {
		return 0, false
	}
	// The k-th index that is left: step over the drawn ones, smallest first.
	i := scale(d.random(), d.size-d.n)
	at := 0
	for ; at < d.n && d.drawn[at] <= i; at++ {
		i++
	}
	copy(d.drawn[at+1:d.n+1], d.drawn[at:d.n])
	d.drawn[at] = i
	d.n++
	return i, true
}

// random is splitmix64 (Steele, Lea and Flood, OOPSLA 2014): the draws of one
// pick follow from one random word.
func (d *draws) random() uint32 {
	d.state += 0x9e3779b97f4a7c15
	z := d.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return uint32(bits.RotateLeft64(z^z>>31, 32))
}
