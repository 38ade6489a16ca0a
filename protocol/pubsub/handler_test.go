package pubsub_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

func TestAHandlersErrorIsATry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, p := publisher(t, mesh, link.Config{})
		var mu sync.Mutex
		tries := make(map[string][]time.Duration)
		began := time.Now()
		s, err := pubsub.SubscribeFunc(t.Context(), mesh.Node(link.Config{}), placed, func(_ context.Context, m pubsub.Message[order]) error {
			mu.Lock()
			defer mu.Unlock()
			tries[m.Value.ID] = append(tries[m.Value.ID], time.Since(began))
			switch n := len(tries[m.Value.ID]); {
			case m.Value.ID == "1" && n == 1:
				return errors.New("the first time")
			case m.Value.ID == "2" && n == 1:
				panic("the first time") //nolint:forbidigo // what is tested
			}
			return nil
		}, pubsub.AtLeastOnce)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		publish(t, p, 1, 3)
		sleep(10 * time.Minute)
		mu.Lock()
		defer mu.Unlock()
		for id, want := range map[string]int{"1": 2, "2": 2, "3": 1} {
			if got := tries[id]; len(got) != want || want == 2 && got[1] < time.Second {
				t.Errorf("message %s was handled at %v, want %d times", id, got, want)
			}
		}
	})
}

// TestLeasesExtendWhileTheHandlerRuns has a handler that takes many times as long as a lease
// while more messages wait, and expects that none is delivered again.
func TestLeasesExtendWhileTheHandlerRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, p := publisher(t, mesh, link.Config{})
		handled := make(map[string]int)
		s, err := pubsub.SubscribeFunc(t.Context(), mesh.Node(link.Config{}), placed, func(_ context.Context, m pubsub.Message[order]) error {
			handled[m.Value.ID]++
			if m.Attempt != 1 {
				t.Errorf("message %s comes for the %d. time", m.Value.ID, m.Attempt)
			}
			sleep(5 * time.Minute)
			return nil
		}, pubsub.AtLeastOnce, pubsub.Lease(10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		publish(t, p, 1, 5)
		sleep(race.Fewer(time.Hour, 26*time.Minute))
		// Close waits for the handler.
		s.Close()
		if len(handled) != 5 {
			t.Errorf("handled %v", handled)
		}
		for id, n := range handled {
			if n != 1 {
				t.Errorf("message %s was handled %d times", id, n)
			}
		}
	})
}

func TestConcurrentHandlersKeepTheOrderOfAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, p := publisher(t, mesh, link.Config{})
		var mu sync.Mutex
		running, most, total := 0, 0, 0
		last := make(map[string]int64)
		var all sync.WaitGroup
		all.Add(4)
		s, err := pubsub.SubscribeFunc(t.Context(), mesh.Node(link.Config{}), placed, func(_ context.Context, m pubsub.Message[order]) error {
			// Four such messages wait for each other, and so need four workers. Which worker
			// gets the other messages is random.
			if m.Value.Cents == 0 {
				all.Done()
				all.Wait()
				return nil
			}
			mu.Lock()
			running++
			total++
			most = max(most, running)
			if m.Key != "" && m.Value.Cents <= last[m.Key] {
				t.Errorf("of key %s %d comes after %d", m.Key, m.Value.Cents, last[m.Key])
			}
			last[m.Key] = m.Value.Cents
			mu.Unlock()
			sleep(time.Millisecond)
			mu.Lock()
			running--
			mu.Unlock()
			return nil
		}, pubsub.Concurrency(4))
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			publish(t, p, 0, 0)
		}
		all.Wait()
		for i := 1; i <= 200; i++ {
			key := fmt.Sprint(i % 7)
			if i%7 == 0 {
				key = ""
			}
			publish(t, p, i, i, pubsub.Key(key))
		}
		sleep(time.Minute)
		s.Close()
		if total != 200 || most < 2 || most > 4 {
			t.Errorf("%d messages handled, at most %d at a time; want 200 and 2 to 4", total, most)
		}
	})
}

func TestOptionsThatCannotBe(t *testing.T) {
	mesh := linktest.NewMesh(t)
	node := mesh.Node(link.Config{})
	for name, opts := range map[string][]pubsub.SubscribeOption{
		"concurrency":        {pubsub.Concurrency(pubsub.MaxConcurrency + 1)},
		"negative handlers":  {pubsub.Concurrency(-1)},
		"limits":             {pubsub.Buffer(-1, 0, 0)},
		"a group of Latest":  {pubsub.Group("g"), pubsub.Latest},
		"any one with acks":  {pubsub.OneOf(), pubsub.AtLeastOnce},
		"any one in a group": {pubsub.OneOf(), pubsub.Group("g")},
		"a bad bookmark":     {pubsub.Resume([]byte("x"))},
		"last of none":       {pubsub.FromLast(-1)},
		"negative credit":    {pubsub.Group("g"), pubsub.GroupCredit(-1)},
		"newest of Latest":   {pubsub.DropNewest(), pubsub.Latest},
		"negative lease":     {pubsub.AtLeastOnce, pubsub.Lease(-time.Second)},
	} {
		if _, err := pubsub.Subscribe(t.Context(), node, placed, opts...); !errors.Is(err, link.InvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGapsGoToOnGapAndNotToTheHandler(t *testing.T) {
	for name, workers := range map[string]int{"one worker": 1, "several": 4} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				node, p := publisher(t, mesh, link.Config{})
				var mu sync.Mutex
				handled, missing := 0, uint64(0)
				handle := func(_ context.Context, m pubsub.Message[order]) error {
					mu.Lock()
					defer mu.Unlock()
					if m.Gap != nil || m.Value.ID == "" {
						t.Errorf("the handler got %+v", m)
					}
					handled++
					return nil
				}
				onGap := func(publisher string, gap pubsub.Gap) {
					mu.Lock()
					defer mu.Unlock()
					if publisher != node.Instance() || gap.Reason != "overflow" {
						t.Errorf("gap %+v of %s", gap, publisher)
					}
					missing += gap.Count
				}
				s, err := pubsub.SubscribeFunc(t.Context(), mesh.Node(link.Config{}), placed, handle, pubsub.OnGap(onGap), pubsub.Buffer(5, 0, 0), pubsub.Concurrency(workers))
				if err != nil {
					t.Fatal(err)
				}
				const n = 10_000
				publish(t, p, 1, n)
				sleep(time.Minute)
				s.Close()
				if handled == 0 || missing == 0 || uint64(handled)+missing != n {
					t.Errorf("%d handled and %d missing of %d", handled, missing, n)
				}
			})
		})
	}
}

// TestMessagesMayBeLarge checks that a message may be larger than 64 KiB, although the elements of
// a channel may not.
func TestMessagesMayBeLarge(t *testing.T) {
	type large struct{ Pad [64 << 10]byte }
	for _, workers := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			mesh := linktest.NewMesh(t)
			topic := pubsub.NewTopic[large]("orders", "large")
			node := mesh.Node(link.Config{Service: "orders"})
			p, err := pubsub.NewPublisher(node, topic)
			if err != nil {
				t.Fatal(err)
			}
			mesh.Start(node)
			got := make(chan byte, 2)
			s, err := pubsub.SubscribeFunc(t.Context(), mesh.Node(link.Config{}), topic, func(_ context.Context, m pubsub.Message[large]) error {
				got <- m.Value.Pad[len(m.Value.Pad)-1]
				return m.Err
			}, pubsub.Concurrency(workers))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			v := large{}
			v.Pad[len(v.Pad)-1] = 7
			if _, err := p.Publish(t.Context(), v); err != nil {
				t.Fatal(err)
			}
			if b := <-got; b != 7 {
				t.Errorf("the last byte is %d, want 7", b)
			}
		})
	}
}

// fragile is a value whose decoding panics if S is "panic".
type fragile struct{ S string }

func (f fragile) MarshalBinary() ([]byte, error) { return []byte(f.S), nil }

func (f *fragile) UnmarshalBinary(b []byte) error {
	if f.S = string(b); f.S == "panic" {
		panic("fragile") //nolint:forbidigo // the panic is what is tested
	}
	return nil
}

// TestAPanicOfADecoderLeavesNothing checks that the messages of a later loop have no fields of a
// message whose decoding panicked.
func TestAPanicOfADecoderLeavesNothing(t *testing.T) {
	type value struct {
		A    string `json:",omitempty"`
		Data fragile
	}
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := mesh.Node(link.Config{Service: "orders"})
		topic := pubsub.NewTopic[value]("orders", "fragile")
		p, err := pubsub.NewPublisher(node, topic)
		if err != nil {
			t.Fatal(err)
		}
		mesh.Start(node)
		s, err := pubsub.Subscribe(t.Context(), mesh.Node(link.Config{}), topic)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		next := func() (m pubsub.Message[value], panicked bool) {
			defer func() { panicked = recover() != nil }()
			for m := range s.Messages() {
				return m, false
			}
			return m, false
		}
		for _, v := range []value{{"first", fragile{"panic"}}, {"", fragile{"fine"}}} {
			if _, err := p.Publish(t.Context(), v); err != nil {
				t.Fatal(err)
			}
			m, panicked := next()
			if panicked != (v.A != "") {
				t.Fatalf("panicked: %v", panicked)
			}
			if !panicked && m.Value != v {
				t.Errorf("got %+v, want %+v", m.Value, v)
			}
		}
	})
}

// TestMistakesOfASubscriptionAreNamedAsTheyWereWritten checks that errors name the options of the
// caller, and not the fields that these become.
func TestMistakesOfASubscriptionAreNamedAsTheyWereWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := linktest.NewMesh(t).Node(link.Config{})
		topic := pubsub.NewTopic[int]("news", "events")
		if _, err := pubsub.SubscribeFunc(t.Context(), node, topic, nil); !errors.Is(err, link.InvalidArgument) || !strings.Contains(err.Error(), "news/events: the handler is nil") {
			t.Errorf("no handler: %v", err)
		}
		if _, err := pubsub.Subscribe(t.Context(), node, topic, pubsub.Concurrency(1025)); !errors.Is(err, link.InvalidArgument) || !strings.Contains(err.Error(), "Concurrency is 1025, want 0 to 1024") {
			t.Errorf("too many handlers: %v", err)
		}
		if _, err := pubsub.Subscribe(t.Context(), node, topic, pubsub.Durable("audit")); !errors.Is(err, link.InvalidArgument) || !strings.Contains(err.Error(), `Durable("audit") in the class best effort; it needs a name, and the option pubsub.AtLeastOnce`) {
			t.Errorf("a durable name of best effort: %v", err)
		}
	})
}

// speechlessError is an error whose method Error panics on a nil pointer.
type speechlessError struct{ text string }

func (e *speechlessError) Error() string { return e.text }

// TestAnErrorWhoseMethodsPanicIsAFailure has a handler return an error whose methods panic, and
// expects that the next message is handled and the failed one is delivered again.
func TestAnErrorWhoseMethodsPanicIsAFailure(t *testing.T) {
	for name, failure := range map[string]error{"panic in Error": (*speechlessError)(nil), "nil *link.Error": (*link.Error)(nil)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				_, p := publisher(t, mesh, link.Config{})
				var runs []string
				s, err := pubsub.SubscribeFunc(t.Context(), mesh.Node(link.Config{}), placed, func(_ context.Context, m pubsub.Message[order]) error {
					runs = append(runs, m.Value.ID)
					if len(runs) == 1 {
						return failure
					}
					return nil
				}, pubsub.AtLeastOnce)
				if err != nil {
					t.Fatal(err)
				}
				for _, id := range []string{"1", "2"} {
					if _, err := p.Publish(t.Context(), order{ID: id}); err != nil {
						t.Fatal(err)
					}
				}
				sleep(10 * time.Second)
				s.Close()
				if want := []string{"1", "2", "1"}; !slices.Equal(runs, want) {
					t.Errorf("handled %q, want %q", runs, want)
				}
			})
		})
	}
}
