package subject_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

func matches(x *subject.Index[int], name string) []int {
	var found []int
	x.Match(name, func(v int) { found = append(found, v) })
	slices.Sort(found)
	return found
}

func TestEmptyIndex(t *testing.T) {
	var x subject.Index[int]
	if got := matches(&x, "a.b"); got != nil {
		t.Errorf("matches %v", got)
	}
	if x.Remove("a", 1) || x.Len() != 0 || x.Generation() != 0 {
		t.Errorf("Remove found something, or Len %d, Generation %d", x.Len(), x.Generation())
	}
}

// TestIndexAgreesWithMatch compares an index with a plain list over random changes.
func TestIndexAgreesWithMatch(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	patterns := words([]string{"a", "b", "c", "_link", "*"}, 3, func(string) bool { return true })
	for i, p := range patterns {
		if strings.Count(p, ".") < 2 {
			patterns = append(patterns, p+".>")
		}
		if i%4 == 0 {
			patterns = append(patterns, fmt.Sprintf("a.%d", i))
		}
	}
	names := words([]string{"a", "b", "c", "_link"}, 4, func(string) bool { return true })

	type entry struct {
		pattern string
		v       int
	}
	var x subject.Index[int]
	var list []entry
	for range 3000 {
		before := x.Generation()
		switch {
		case len(list) > 0 && rnd.IntN(100) < 45:
			i := rnd.IntN(len(list))
			if !x.Remove(list[i].pattern, list[i].v) {
				t.Fatalf("%v is not there", list[i])
			}
			list = slices.Delete(list, i, i+1)
		case rnd.IntN(10) == 0:
			if x.Remove(patterns[rnd.IntN(len(patterns))], -1) {
				t.Fatal("removed what was not there")
			}
			before--
		default:
			e := entry{patterns[rnd.IntN(len(patterns))], rnd.IntN(20)}
			fresh := !slices.Contains(list, e)
			if x.Add(e.pattern, e.v) != fresh {
				t.Fatalf("%v is there %v, and Add says otherwise", e, !fresh)
			}
			if fresh {
				list = append(list, e)
			} else {
				before--
			}
		}
		if x.Len() != len(list) || x.Generation() != before+1 {
			t.Fatalf("Len %d of %d, generation %d after %d", x.Len(), len(list), x.Generation(), before)
		}
		name := names[rnd.IntN(len(names))]
		var want []int
		for _, e := range list {
			if subject.Match(e.pattern, name) {
				want = append(want, e.v)
			}
		}
		slices.Sort(want)
		if got := matches(&x, name); !slices.Equal(got, want) {
			t.Fatalf("%q matches %v, want %v", name, got, want)
		}
	}
}

func TestManyTokensInOnePlace(t *testing.T) {
	var x subject.Index[int]
	const n = 20_000
	for i := range n {
		x.Add(fmt.Sprintf("device.%d.state", i), i)
	}
	for i := range n {
		name := fmt.Sprintf("device.%d.state", i)
		if got := matches(&x, name); len(got) != 1 || got[0] != i {
			t.Fatalf("%s matches %v", name, got)
		}
		if !x.Remove(name, i) {
			t.Fatalf("%s is not there", name)
		}
	}
	if got := matches(&x, "device.1.state"); got != nil || x.Len() != 0 {
		t.Errorf("%v are left of %d", got, x.Len())
	}
}

// TestAChangeCostsNoMoreWhereManyAre counts the bytes that are allocated when a value is added
// and removed beside many others under its pattern, and beside many tokens.
func TestAChangeCostsNoMoreWhereManyAre(t *testing.T) {
	const changes = 1000
	cost := func(many int) uint64 {
		var x subject.Index[int]
		for i := range many {
			x.Add("orders.placed", i)
			x.Add("orders.>", i)
			x.Add(fmt.Sprintf("device.%d", i), i)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for i := range changes {
			for _, pattern := range []string{"orders.placed", "orders.>", "device.x"} {
				x.Add(pattern, -1-i)
				if !x.Remove(pattern, -1-i) {
					t.Fatalf("%d is not under %s", -1-i, pattern)
				}
			}
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / changes
	}
	few, many := cost(100), cost(10_000)
	t.Logf("a change takes %d bytes beside 100 values, %d beside 10,000", few, many)
	if many > 2*few+100 {
		t.Errorf("a change takes %d bytes beside 100 values, %d beside 10,000", few, many)
	}
}

func TestNamesLeaveNothingBehind(t *testing.T) {
	var x subject.Index[int]
	x.Add(">", 1)
	name := make([]byte, 0, 32)
	found := 0
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range 1_000_000 {
		name = fmt.Appendf(name[:0], "device.%d", i)
		x.Match(string(name), func(v int) { found += v })
	}
	if grown := int64(heap()) - int64(before); found != 1_000_000 || grown > 1<<20 {
		t.Errorf("found %d, and the heap grew by %d bytes", found, grown)
	}
	runtime.KeepAlive(&x)
}

func TestMatchAllocatesNothing(t *testing.T) {
	var x subject.Index[int]
	for i, p := range []string{">", "a.*.c", "a.b.*", "*.*.*", "a.b.c", "x"} {
		x.Add(p, i)
	}
	found := 0
	if n := testing.AllocsPerRun(100, func() { x.Match("a.b.c", func(int) { found++ }) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if found == 0 || found%5 != 0 {
		t.Errorf("%d matches", found)
	}
	if n := testing.AllocsPerRun(100, func() { subject.Match("a.*.>", "a.b.c") }); n != 0 {
		t.Errorf("Match: %v allocations", n)
	}
}

// TestReadersSeeWholeStates moves a value between patterns that match one name. A reader
// must always find the fixed value once, and the moving value at most twice.
func TestReadersSeeWholeStates(t *testing.T) {
	var x subject.Index[int]
	x.Add("a.b", 0)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				fixed, moving := 0, 0
				x.Match("a.b", func(v int) {
					if v == 0 {
						fixed++
					} else {
						moving++
					}
				})
				if fixed != 1 || moving > 2 {
					t.Errorf("found the fixed value %d times, the moving one %d times", fixed, moving)
					return
				}
			}
		})
	}
	patterns := []string{"a.*", ">", "a.b", "*.b"}
	for i := range 5000 {
		x.Add(patterns[i%4], 1)
		if i > 0 {
			x.Remove(patterns[(i-1)%4], 1)
		}
	}
	close(done)
	readers.Wait()
}

func BenchmarkMatch(b *testing.B) {
	var x subject.Index[int]
	for i := range 1000 {
		x.Add(fmt.Sprintf("device.%d.>", i), i)
		x.Add(fmt.Sprintf("device.*.kind%d", i), i)
	}
	for b.Loop() {
		x.Match("device.17.kind42", func(int) {})
	}
}
