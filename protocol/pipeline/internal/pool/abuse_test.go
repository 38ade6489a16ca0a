package pool

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// frameOf returns the body of a TASKS frame of n tasks with size bytes each, numbered from
// a number on. If again is set, all of them have that number.
func frameOf(from uint64, n, size int, again bool) []byte {
	var b []byte
	for i := range n {
		seq := from
		if !again {
			seq += uint64(i)
		}
		rec := frame.Task{Seq: seq, Delivery: uint64(i) + 1, Attempt: 1, Left: -1, Start: -1, Body: make([]byte, size)}
		b = rec.Append(b)
	}
	return b
}

func TestAnswersToAProducerThatRepeatsItselfAreBounded(t *testing.T) {
	for name, act := range map[string]func(p *Pool, s *Source) error{
		"tasks that are done": func(p *Pool, s *Source) error { return p.Receive(s, frameOf(1, 3000, 1, true), 5, 5) },
		"tasks beyond its window": func(p *Pool, s *Source) error {
			return p.Receive(s, frameOf(1000, 300_000, 1, false), 5, 5)
		},
		"recalls of what runs": func(p *Pool, s *Source) error {
			for range 1000 {
				p.Recall(s, numbers(2, 3000), 5)
			}
			return nil
		},
		"cancellations of what runs": func(p *Pool, s *Source) error {
			for range 1000 {
				p.Cancel(nil, s, numbers(2, 3000), 5)
			}
			return nil
		},
	} {
		p, s := one(t, Options{Slots: 2}, 2)
		p.Done(p.Begin(nil, 3)[0], frame.Outcome{Verb: frame.Result, Data: make([]byte, frame.MaxResult)}, 4)
		p.Free()
		p.Begin(nil, 4)
		outcomes(t, p, s)
		if s.Flooded() {
			t.Errorf("%s: before it has begun", name)
		}
		if err := act(p, s); err != nil {
			t.Fatal(err)
		}
		n := len(p.Take(s, nil, 6).Outcomes)
		if n > MaxEcho+frame.MaxResult+100 {
			t.Errorf("%s: %d bytes of answers wait", name, n)
		}
		if err := act(p, s); err != nil || !s.Flooded() {
			t.Errorf("%s: %v, flooded: %v", name, err, s.Flooded())
		}
	}
}

func numbers(of uint64, n int) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		out[i] = of
	}
	return out
}

func TestATaskThatIsAskedAboutOftenIsAnsweredOnce(t *testing.T) {
	p, _ := one(t, Options{Slots: 2}, 1)
	p.Done(p.Begin(nil, 3)[0], frame.Outcome{Verb: frame.Result, Data: make([]byte, frame.MaxResult)}, 4)
	p.Free()
	s, answer, err := p.Join(Hello{From: share.Key{Name: "peer"}, Queue: "queue", Fence: 1000, Held: append(numbers(1, 8000), numbers(9, 100)...)}, 5)
	if err != nil || len(answer.Unknown) != 1 {
		t.Errorf("unknown %v, %v", answer.Unknown, err)
	}
	if n := len(p.Take(s, nil, 6).Outcomes); n > frame.MaxResult+100 {
		t.Errorf("%d bytes of answers", n)
	}
}

func TestWhatAnIdentityHasHereIsBoundedWhateverItsQueues(t *testing.T) {
	opts := Options{Slots: 1, HeldBytes: 1 << 20}
	p := New(opts)
	var all []*Source
	for i := range 64 {
		s, _, err := p.Join(Hello{From: share.Key{Name: "peer"}, Queue: fmt.Sprint(i)}, 1)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	for _, s := range all {
		p.Take(s, nil, 2)
	}
	tasks := frameOf(1, 8, 1<<20, false)
	for _, s := range all {
		// All sources may have been told such windows one after the other.
		s.wish, s.window = 8, 8
		if err := p.Receive(s, tasks, 2, 2); err != nil {
			t.Fatal(err)
		}
	}
	held := int64(0)
	for _, s := range all {
		held += s.bytes
	}
	if of := all[0].of; held != of.bytes.Held() || held > p.limit() {
		t.Errorf("%d bytes are held, counted %d, at most %d may be", held, of.bytes.Held(), p.limit())
	}
	room := p.limit() - all[0].of.bytes.Held()
	if all[0].Room().Take(room) != nil || all[1].Room().Take(1) == nil {
		t.Error("parts do not count as tasks do")
	}
	all[1].Room().Give(room)
	for _, s := range all {
		p.Leave(s, s.ready, 3, 3)
	}
	if n := all[0].of.bytes.Held(); n != 0 {
		t.Errorf("%d bytes stay counted", n)
	}
	p.sweep(3 + int64(DefaultCacheTime))
	if len(p.peers) != 0 || len(p.sources) != 0 {
		t.Errorf("%d identities and %d queues stay", len(p.peers), len(p.sources))
	}
}

func TestTheCachesOfAnIdentityAreBounded(t *testing.T) {
	p := New(Options{})
	var of *peer
	for i := range 64 {
		s, _, err := p.Join(Hello{From: share.Key{Name: "peer"}, Queue: fmt.Sprint(i)}, 1)
		if err != nil {
			t.Fatal(err)
		}
		of = s.of
		for page := range uint64(64) {
			p.keep(s, &frame.Outcome{Verb: frame.Ack, Seq: page*cachePage + 1}, 1)
		}
	}
	pages := 0
	for _, s := range p.sources {
		for _, page := range s.cache.pages {
			if page != nil {
				pages++
			}
		}
	}
	if pages != MaxPages || int(of.pages.Held()) != pages {
		t.Errorf("%d pages, counted %d, want %d", pages, of.pages.Held(), MaxPages)
	}
	for _, s := range p.sources {
		s.clear()
	}
	if n := of.pages.Held(); n != 0 {
		t.Errorf("%d pages stay counted", n)
	}
}

// TestAProducerThatReadsNoResultsGetsNoMoreTasksDone checks that new tasks of a producer are given back while it
// does not read long results.
func TestAProducerThatReadsNoResultsGetsNoMoreTasksDone(t *testing.T) { // SEC-356
	p, s := one(t, Options{Slots: 8}, 8)
	for range 8 {
		for _, task := range p.Begin(nil, 3) {
			p.Done(task, frame.Outcome{Verb: frame.Result, Data: make([]byte, frame.MaxResult)}, 4)
			p.Free()
		}
	}
	if err := p.Receive(s, frameOf(100, 3, 1, false), 5, 5); err != nil {
		t.Fatal(err)
	}
	if n := p.State().Released; n == 0 || s.held.Len() > 0 {
		t.Errorf("%d tasks were given back, %d are held, while %d bytes of results wait", n, s.held.Len(), len(s.out))
	}
	p.Take(s, nil, 6)
	// With this call, the results that the first one returned count as written.
	p.Take(s, nil, 6)
	if err := p.Receive(s, frameOf(200, 2, 1, false), 7, 7); err != nil || s.held.Len() == 0 {
		t.Errorf("when they are read: %v, %d tasks are held", err, s.held.Len())
	}
}

// TestAHelloThatAsksForAllIsAnsweredInSteps checks that a kept result is copied only once the results
// before it have been read, because a HELLO costs its sender only a few bytes.
func TestAHelloThatAsksForAllIsAnsweredInSteps(t *testing.T) { // SEC-722
	const results, size = 100, 64 << 10
	var held []uint64
	for i := range results / 2 {
		held = append(held, uint64(i)+1)
	}
	for name, hello := range map[string]Hello{
		"a range": {First: 0, Last: math.MaxUint64},
		"a list":  {Held: slices.Clone(held)},
		"both":    {First: 0, Last: math.MaxUint64, Held: held},
	} {
		t.Run(name, func(t *testing.T) {
			p, s := one(t, Options{Slots: 4}, 0)
			for i := range results {
				p.keep(s, &frame.Outcome{Verb: frame.Result, Seq: uint64(i) + 1, Delivery: 3, Data: make([]byte, size)}, 2)
			}
			want := results
			if hello.Last == 0 {
				want = len(held)
			}
			hello.From, hello.Queue, hello.Fence = share.Key{Name: "peer"}, "queue", 1000
			s, answer, err := p.Join(hello, 3)
			if err != nil || len(answer.Unknown) != 0 {
				t.Fatal(answer, err)
			}
			if n := len(s.out); n > AgainBytes {
				t.Errorf("a HELLO has %d bytes copied, want at most %d", n, AgainBytes)
			}
			seen := make(map[uint64]bool)
			for steps := 1; ; steps++ {
				w := p.Take(s, nil, 3)
				if n := len(w.Outcomes); n > AgainBytes+2*size {
					t.Errorf("step %d: %d bytes are copied, want about %d", steps, n, AgainBytes)
				}
				for rest := w.Outcomes; len(rest) > 0; {
					var o frame.Outcome
					if rest, err = o.Cut(rest); err != nil {
						t.Fatal(err)
					}
					if seen[o.Seq] || o.Verb != frame.Result || o.Delivery != 3 {
						t.Errorf("task %d: %+v", o.Seq, o.Verb)
					}
					seen[o.Seq] = true
				}
				// The window says that this was all, and is written before the outcomes.
				if w.Window {
					if len(w.Outcomes) > 0 {
						t.Errorf("step %d: the window comes before %d bytes of outcomes", steps, len(w.Outcomes))
					}
					if least := want * size / (AgainBytes + size); steps < least {
						t.Errorf("%d bytes in %d steps", want*size, steps)
					}
					break
				}
				if len(w.Outcomes) == 0 {
					t.Fatal("nothing is to be written, and no window was told")
				}
			}
			if len(seen) != want {
				t.Errorf("%d results were written again, want %d", len(seen), want)
			}
		})
	}
}
