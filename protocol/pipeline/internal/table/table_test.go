package table_test

import (
	"math/rand/v2"
	"testing"

	"github.com/linkmesh/link/protocol/pipeline/internal/table"
)

func TestTableIsAMap(t *testing.T) {
	var got table.Table[int]
	want := map[uint64]*int{}
	r := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		n := r.Uint64N(3000)
		switch r.IntN(3) {
		case 0:
			got.Remove(n)
			delete(want, n)
		default:
			v := int(n)
			got.Put(n, &v)
			want[n] = &v
		}
		if n := r.Uint64N(3000); got.Get(n) != want[n] {
			t.Fatalf("%d is %p, want %p", n, got.Get(n), want[n])
		}
		if got.Len() != len(want) {
			t.Fatalf("%d values, want %d", got.Len(), len(want))
		}
	}
	for v := range got.All {
		if want[uint64(*v)] != v {
			t.Fatalf("%d is there and should not be", *v)
		}
		delete(want, uint64(*v))
	}
	if len(want) > 0 {
		t.Errorf("%d values are missing", len(want))
	}
}
