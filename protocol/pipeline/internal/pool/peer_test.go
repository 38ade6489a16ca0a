package pool

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// join has a producer join that says it has so many tasks waiting.
func join(t *testing.T, p *Pool, from share.Key, queue string, backlog uint64, now int64) *Source {
	t.Helper()
	s, _, err := p.Join(Hello{From: from, Queue: queue}, now)
	if err != nil {
		t.Fatal(err)
	}
	p.Backlog(s, backlog, now)
	return s
}

// TestWhoHasManyQueuesDoesNotGetMoreWindows: a peer that says of many queues that they are
// long, and sends nothing, must not have all that others need.
func TestWhoHasManyQueuesDoesNotGetMoreWindows(t *testing.T) { // SEC-370
	honest := share.Key{Name: "shop", Place: "10.0.0.2/32"}
	for name, from := range map[string]func(i int) share.Key{
		"one name":            func(int) share.Key { return share.Key{Name: "mallory"} },
		"one name at a place": func(int) share.Key { return share.Key{Name: "mallory", Place: "10.0.0.1/32"} },
		"names at a place":    func(i int) share.Key { return share.Key{Name: fmt.Sprint("mallory-", i), Place: "10.0.0.1/32"} },
		"the name of another": func(int) share.Key { return share.Key{Name: honest.Name, Place: "10.0.0.1/32"} },
	} {
		p := New(Options{Slots: 16})
		now := int64(time.Hour)
		for i := range 1000 {
			join(t, p, from(i), fmt.Sprint(i), math.MaxInt64, now)
		}
		s := join(t, p, honest, "q", 8, now)
		p.Tick(nil, now+shareEvery)
		if w := p.Take(s, nil, now); !w.Window || w.Tasks != 8 {
			t.Errorf("%s: who has 8 tasks gets a window of %d, of %d slots", name, w.Tasks, p.Capacity())
		}
	}
}

// TestManyNamesAtAnAddressHoldNoMoreThanHalf of what there is for tasks, parts of tasks,
// results that are kept, and queues.
func TestManyNamesAtAnAddressHoldNoMoreThanHalf(t *testing.T) { // SEC-371
	p := New(Options{})
	var last *Source
	refused := 0
	for i := range 5000 {
		s, _, err := p.Join(Hello{From: share.Key{Name: fmt.Sprint("mallory-", i), Place: "10.0.0.1/32"}, Queue: "q"}, 1)
		if err != nil {
			refused++
			continue
		}
		last = s
		for range 40 {
			p.Hold(s, frame.MaxResult)
		}
		p.keep(s, &frame.Outcome{Verb: frame.Result, Seq: 1, Data: make([]byte, 64<<10)}, 1)
	}
	if used, most := p.bounds.bytes.Used(), others/2*p.limit(); used > most || used < most/2 {
		t.Errorf("%d bytes of tasks are held, want at most %d", used, most)
	}
	if used, most := p.bounds.results.Used(), p.opts.CacheBytes/2; used > most {
		t.Errorf("%d bytes of results are kept, want at most %d", used, most)
	}
	if n := len(p.sources); n > others/2*MaxSources || refused == 0 {
		t.Errorf("%d queues are here, %d were refused", n, refused)
	}
	other := join(t, p, share.Key{Name: "shop", Place: "10.0.0.2/32"}, "q", 1, 1)
	if !p.Hold(other, MaxTask) {
		t.Error("another address has no room for a task")
	}
	p.keep(other, &frame.Outcome{Verb: frame.Result, Seq: 1, Data: make([]byte, 1<<20)}, 1)
	if other.cache.get(1, 1, time.Minute) == nil {
		t.Error("another address has no room for a result")
	}
	p.Leave(last, last.ready, 2, 2)
}

// TestRoundTripsThatWereNotMeasuredCountForNothing: the windows of all depend on them.
func TestRoundTripsThatWereNotMeasuredCountForNothing(t *testing.T) {
	p := New(Options{})
	s := join(t, p, share.Key{Name: "shop"}, "q", 1, 1)
	p.Pong(s, time.Minute, 1)
	if s.trips != 0 {
		t.Error("an answer to no question was taken")
	}
	p.Take(s, nil, 1)
	p.Pong(s, time.Millisecond, 2)
	p.Pong(s, time.Minute, 2)
	if s.trips != 1 {
		t.Errorf("%d round trips, want 1", s.trips)
	}
}
