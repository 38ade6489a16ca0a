package receive

import (
	"slices"
	"testing"

	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/protocol/internal/flow"
)

// TestAFifoKeepsItsOrder pushes and pops in all proportions, beside a slice that does the same.
func TestAFifoKeepsItsOrder(t *testing.T) {
	for in := 1; in < 6; in++ {
		for out := 1; out < 6; out++ {
			var l fifo[int]
			var want []int
			for i := range 200 {
				if i%(in+out) < in {
					l.push(i)
					want = append(want, i)
				} else if len(want) > 0 {
					if got := l.pop(); got != want[0] {
						t.Fatalf("%d in, %d out: got %d, want %d", in, out, got, want[0])
					}
					want = want[1:]
				}
				if l.len() != len(want) || len(want) > 0 && l.at(len(want)-1) != want[len(want)-1] {
					t.Fatalf("%d in, %d out: %d elements, want %d", in, out, l.len(), len(want))
				}
			}
		}
	}
	var l fifo[int]
	if got := testing.AllocsPerRun(1000, func() {
		l.push(1)
		l.push(2)
		l.pop()
		l.pop()
	}); got > 0 {
		t.Errorf("%v allocations for a list that does not grow", got)
	}
}

// TestCutTakesTheEndOfOneConnection checks that only the frames of one connection are taken back, only those
// behind the first, and that the others keep their order.
func TestCutTakesTheEndOfOneConnection(t *testing.T) {
	q := queue{filled: notify.NewFlag()}
	one, other := new(Conn), new(Conn)
	var want []*frames
	cut := 0
	for i := range 2 * flow.Frames {
		f := &frames{conn: one, body: make([]byte, 1)}
		if i%3 == 0 {
			f.conn = other
		}
		q.push(f)
		if i >= flow.Frames && f.conn == one {
			cut++
		} else {
			want = append(want, f)
		}
	}
	if got := q.beyond(one); got != cut*(1+frameCost) {
		t.Errorf("%d bytes are behind the first, want those of %d frames", got, cut)
	}
	if got := q.cut(one); len(got) != cut || q.beyond(one) != 0 {
		t.Errorf("%d frames were cut, want %d, and %d bytes are left", len(got), cut, q.beyond(one))
	}
	var got []*frames
	for f := q.pop(); f != nil; f = q.pop() {
		got = append(got, f)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d frames are left, want %d in their order", len(got), len(want))
	}
}
