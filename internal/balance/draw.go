package balance

import (
	"math/bits"

	"github.com/linkmesh/link/internal/hash"
)

// drawPair maps r to two distinct indexes below n, n ≥ 2, in random order. The
// bias of scaling 32 bits is below n/2³².
func drawPair(n int, r uint64) (first, second int) {
	first = scale(uint32(r>>32), n)
	second = scale(uint32(r), n-1)
	// Add 1 if second ≥ first, without a branch that half of the picks would
	// mispredict.
	return first, second + int(uint64(first-second-1)>>63)
}

func scale(r uint32, n int) int { return int(uint64(r) * uint64(n) >> 32) }

// MaxDraws is how many instances a pick draws to find two that are acceptable.
const MaxDraws = 16

// draws samples up to MaxDraws indexes without replacement.
type draws struct {
	size  int
	state uint64
	n     int
	// drawn[:n] holds the indexes that were drawn, in ascending order.
	drawn [MaxDraws]int
}

// next returns an index that was not drawn before, each equally likely, or false
// if none is left.
func (d *draws) next() (int, bool) {
	if d.n == d.size || d.n == len(d.drawn) {
		return 0, false
	}
	// Find the i-th of the remaining indexes: step over the drawn ones, smallest first.
	i := scale(d.random(), d.size-d.n)
	for at := 0; at < d.n && d.drawn[at] <= i; at++ {
		i++
	}
	d.take(i)
	return i, true
}

// take marks i as drawn.
func (d *draws) take(i int) {
	at := d.n
	for ; at > 0 && d.drawn[at-1] > i; at-- {
		d.drawn[at] = d.drawn[at-1]
	}
	d.drawn[at] = i
	d.n++
}

// random is splitmix64 (Steele, Lea and Flood, OOPSLA 2014): one random word seeds
// all draws of a pick.
func (d *draws) random() uint32 {
	d.state += hash.Golden
	return uint32(bits.RotateLeft64(hash.SplitMix(d.state), 32))
}

// walk visits each index below size, size ≥ 2, once, from a random index on with a random stride.
type walk struct{ size, at, stride, left int }

func newWalk(size int, d *draws) walk {
	w := walk{size: size, at: scale(d.random(), size), stride: 1 + scale(d.random(), size-1), left: size}
	// The loop ends at size−1 at the latest, which is coprime to size.
	for gcd(w.stride, size) != 1 {
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
