package share

import (
	"errors"
	"fmt"
	"sync"
	"testing"
)

// fill takes one at a time until Take fails with want, and returns how many it took.
func fill(t *testing.T, h *Holder, want error) int64 {
	t.Helper()
	for n := int64(0); ; n++ {
		if err := h.Take(1); err != nil {
			if !errors.Is(err, want) {
				t.Fatalf("after %d: %v, want %v", n, err, want)
			}
			return n
		}
	}
}

func TestEachHasWhatItLeavesFree(t *testing.T) {
	p := NewPool(Config{Limit: 1024})
	free := int64(1024)
	for i := range 10 {
		h := p.Holder(Key{Name: fmt.Sprint(i)})
		got := fill(t, h, ErrShare)
		if want := free / 2; got != want {
			t.Errorf("holder %d has %d of %d that were free, want %d", i, got, free, want)
		}
		free -= got
	}
	if used := p.Used(); used != 1023 {
		t.Errorf("%d in use, want all but the last", used)
	}
}

func TestFloorIsEverybodysWhileItIsFree(t *testing.T) {
	p := NewPool(Config{Limit: 100, Floor: 20})
	for i, want := range []int64{50, 25, 20, 5} {
		err := ErrShare
		if want == 5 {
			err = ErrSpent
		}
		if got := fill(t, p.Holder(Key{Name: fmt.Sprint(i)}), err); got != want {
			t.Errorf("holder %d has %d, want %d", i, got, want)
		}
	}
	if used := p.Used(); used != 100 {
		t.Errorf("%d in use, want all", used)
	}
}

func TestMostIsForOneHolder(t *testing.T) {
	p := NewPool(Config{Limit: 100, Floor: 20, Most: 10})
	for i := range 10 {
		if got := fill(t, p.Holder(Key{Name: fmt.Sprint(i)}), ErrMost); got != 10 {
			t.Errorf("holder %d has %d, want 10", i, got)
		}
	}
}

// TestNamesAtOnePlaceShareHalf checks that any number of names at one place share half
// of the pool, so that a host that makes up names gains nothing.
func TestNamesAtOnePlaceShareHalf(t *testing.T) {
	p := NewPool(Config{Limit: 1024, Floor: 2})
	var all int64
	for i := range 1000 {
		all += fill(t, p.Holder(Key{Name: fmt.Sprint(i), Place: "10.0.0.1"}), ErrShare)
	}
	if all != 512 {
		t.Errorf("one place has %d of 1024, want half", all)
	}
	if got := fill(t, p.Holder(Key{Name: "0", Place: "10.0.0.2"}), ErrShare); got != 256 {
		t.Errorf("the same name at another place has %d, want 256", got)
	}
}

func TestOneNameLeavesOthersAtItsPlaceRoom(t *testing.T) {
	p := NewPool(Config{Limit: 1024})
	for i, want := range []int64{256, 128, 64} {
		if got := fill(t, p.Holder(Key{Name: fmt.Sprint(i), Place: "10.0.0.1"}), ErrShare); got != want {
			t.Errorf("name %d has %d, want %d", i, got, want)
		}
	}
}

func TestHoldersAreForgotten(t *testing.T) {
	p := NewPool(Config{Limit: 10})
	key := Key{Name: "a", Place: "here"}
	a, b := p.Holder(key), p.Holder(key)
	if a != b {
		t.Fatal("equal keys gave two holders")
	}
	other := p.Holder(Key{Name: "b", Place: "here"})
	a.Release()
	if p.Holder(key) != b {
		t.Error("a holder was forgotten that is in use")
	}
	b.Release()
	b.Release()
	other.Release()
	if len(p.holders) != 0 || len(p.places) != 0 {
		t.Errorf("%d holders and %d places are remembered, want none", len(p.holders), len(p.places))
	}
}

func TestScarce(t *testing.T) {
	p := NewPool(Config{Limit: 100, Floor: 4})
	h := p.Holder(Key{Name: "a"})
	for n := int64(1); n <= 50; n++ {
		if err := h.Take(1); err != nil {
			t.Fatal(err)
		}
		if got, want := h.Scarce(), n > 25; got != want {
			t.Errorf("scarce at %d of 50: %t", n, got)
		}
	}
	small := p.Holder(Key{Name: "b"})
	if err := small.Take(2); err != nil {
		t.Fatal(err)
	}
	if small.Scarce() {
		t.Error("scarce below half of the floor")
	}
}

func TestTakeAllocatesNothing(t *testing.T) {
	h := NewPool(Config{Limit: 4}).Holder(Key{Name: "a", Place: "here"})
	if n := testing.AllocsPerRun(100, func() {
		if h.Take(1) == nil {
			h.Give(1)
		}
		_ = h.Take(100)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestConcurrent checks that the limit holds under concurrent use, and that nothing is left
// in use when all was given back.
func TestConcurrent(t *testing.T) {
	const limit = 1000
	p := NewPool(Config{Limit: limit, Floor: 10, Most: 300})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			h := p.Holder(Key{Name: fmt.Sprint(g % 4), Place: []string{"", "here"}[g%2]})
			defer h.Release()
			mine := int64(0)
			for i := range 20_000 {
				n := int64(i*7%13 + 1)
				if i%3 == 0 && mine >= n {
					h.Give(n)
					mine -= n
				} else if h.Take(n) == nil {
					mine += n
				}
				// Each goroutine may be about to undo a Take that was refused.
				if used := p.Used(); used > limit+8*13 {
					t.Errorf("%d in use of %d", used, limit)
					return
				}
			}
			h.Give(mine)
		})
	}
	wg.Wait()
	if used := p.Used(); used != 0 {
		t.Errorf("%d in use when all was given back", used)
	}
	if len(p.holders) != 0 || len(p.places) != 0 {
		t.Error("holders are left")
	}
}

func TestKeyOf(t *testing.T) {
	for _, test := range []struct {
		addr     string
		advisory bool
		place    string
	}{
		{"10.0.0.1:7443", false, ""},
		{"10.0.0.1:7443", true, "10.0.0.1/32"},
		{"[::ffff:10.0.0.1]:7443", true, "10.0.0.1/32"},
		{"[2001:db8:1:2:3:4:5:6]:7443", true, "2001:db8:1:2::/64"},
		{"[fe80::1%eth0]:7443", true, "fe80::/64"},
		{"in memory", true, "?"},
	} {
		if got, want := KeyOf("a", test.addr, test.advisory), (Key{"a", test.place}); got != want {
			t.Errorf("%s (advisory: %t): %+v, want %+v", test.addr, test.advisory, got, want)
		}
	}
}
