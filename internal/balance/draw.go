package balance

import "math/bits"

// drawPair maps r to two distinct indexes below n, n ≥ 2, in random order. The
// bias of scaling 32 bits is below n/2³².
func drawPair(n int, r uint64) (first, second int) {
	first = scale(uint32(r>>32), n)
	second = scale(uint32(r), n-1)
	// One more if second ≥ first, without a branch that half of the picks would
	// mispredict.
	return first, second + int(uint64(first-second-1)>>63)
}

func scale(r uint32, n int) int { return int(uint64(r) * uint64(n) >> 32) }

// MaxDraws is how many instances a pick draws in search of two that will do.
const MaxDraws = 16

// draws is sampling without replacement of up to MaxDraws indexes.
type draws struct {
	size  int
	state uint64
	n     int
	drawn [MaxDraws]int // sorted
}

// next returns an index that was not drawn before, each equally likely, or false
// when none is left.
func (d *draws) next() (int, bool) {
	if d.n == d.size || d.n == len(d.drawn) {
		return 0, false
	}
	// The k-th index that is left: step over the drawn ones, smallest first.
	i := scale(d.random(), d.size-d.n)
	for at := 0; at < d.n && d.drawn[at] <= i; at++ {
		i++
	}
	d.take(i)
	return i, true
}

// take makes i one that was drawn.
func (d *draws) take(i int) {
	at := d.n
	for ; at > 0 && d.drawn[at-1] > i; at-- {
		d.drawn[at] = d.drawn[at-1]
	}
	d.drawn[at] = i
	d.n++
}

// random is splitmix64 (Steele, Lea and Flood, OOPSLA 2014): the draws of one
// pick follow from one random word.
func (d *draws) random() uint32 {
	d.state += golden
	return uint32(bits.RotateLeft64(mix(d.state), 32))
}

// walk visits each index below size, size ≥ 2, once, from a random one on, in random strides.
type walk struct{ size, at, stride, left int }

func newWalk(size int, d *draws) walk {
	w := walk{size: size, at: scale(d.random(), size), stride: 1 + scale(d.random(), size-1), left: size}
	for gcd(w.stride, size) != 1 { // size−1 ends it at the latest
		w.stride++
	}
	return w
}

func (w *walk) next() (int, bool) {
	if w.left == 0 {
		return 0, false
	}
	i := w.at
	w.left--
	if w.at += w.stride; w.at >= w.size {
		w.at -= w.size
	}
	return i, true
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
