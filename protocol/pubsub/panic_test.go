package pubsub_test

import (
	"context"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/internal/logtest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// TestNoPublisherEndsAProcessByAPanic has the code of a user panic where a subscription with a handler calls it with what a
// publisher has chosen: a decoder, a rule, and a function for gaps. It expects that the subscription goes on.
func TestNoPublisherEndsAProcessByAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := mesh.Node(link.Config{Service: "orders"})
		topic := pubsub.NewTopic[fragile]("orders", "fragile")
		p, err := pubsub.NewPublisher(node, topic)
		if err != nil {
			t.Fatal(err)
		}
		mesh.Start(node)
		var log logtest.Log
		client := mesh.Node(link.Config{Logger: log.Logger()})
		pubsub.Authorize(client, func(a pubsub.Access) error {
			if strings.HasSuffix(a.Topic, "odd") {
				panic("the rule") //nolint:forbidigo // what is tested
			}
			return nil
		})
		var got []string
		var gaps atomic.Int32
		s, err := pubsub.SubscribeFunc(t.Context(), client, pubsub.NewTopic[fragile]("orders", "fragile.>"), func(_ context.Context, m pubsub.Message[fragile]) error {
			got = append(got, m.Value.S)
			return nil
		}, pubsub.OnGap(func(string, pubsub.Gap) {
			gaps.Add(1)
			panic("the gap") //nolint:forbidigo // what is tested
		}))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []struct{ topic, text string }{{"even", "first"}, {"even", "panic"}, {"odd", "refused"}, {"even", "last"}} {
			if _, err := p.Publish(t.Context(), fragile{m.text}, pubsub.Below(m.topic)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		s.Close()
		if want := []string{"first", "last"}; !slices.Equal(got, want) || gaps.Load() != 1 {
			t.Errorf("the handler got %q and %d gaps, want %q and 1", got, gaps.Load(), want)
		}
		for _, what := range []string{"rule of Authorize panicked", "decoder of a subscription panicked", "OnGap of a subscription panicked"} {
			if !strings.Contains(log.String(), what) {
				t.Errorf("the log does not say %q:\n%s", what, &log)
			}
		}
	})
}

// TestAHandlerThatEndsItsGoroutine checks that runtime.Goexit in a handler is a failed attempt, and that the subscription goes
// on with the messages behind it.
func TestAHandlerThatEndsItsGoroutine(t *testing.T) {
	for _, n := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			mesh := linktest.NewMesh(t)
			_, p := publisher(t, mesh, link.Config{})
			var mu sync.Mutex
			tries := make(map[string]int)
			s, err := pubsub.SubscribeFunc(t.Context(), mesh.Node(link.Config{}), placed, func(_ context.Context, m pubsub.Message[order]) error {
				mu.Lock()
				tries[m.Value.ID]++
				exits := m.Value.ID == "2" && m.Attempt < 3
				mu.Unlock()
				if exits {
					runtime.Goexit()
				}
				return nil
			}, pubsub.AtLeastOnce, pubsub.Concurrency(n))
			if err != nil {
				t.Fatal(err)
			}
			publish(t, p, 1, 5)
			sleep(10 * time.Minute)
			s.Close()
			if want := map[string]int{"1": 1, "2": 3, "3": 1, "4": 1, "5": 1}; !maps.Equal(tries, want) {
				t.Errorf("with %d at a time, messages were handled %v times, want %v", n, tries, want)
			}
		})
	}
}

// TestARuleThatPanicsRefusesASubscriber checks that a peer whose subscription makes a rule panic is refused and not told why.
func TestARuleThatPanicsRefusesASubscriber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, _ := publisher(t, mesh, link.Config{})
		pubsub.Authorize(node, func(pubsub.Access) error { panic("a secret") }) //nolint:forbidigo // what is tested
		_, err := pubsub.Subscribe(t.Context(), mesh.Node(link.Config{}), placed)
		if link.CodeOf(err) != link.PermissionDenied || strings.Contains(err.Error(), "secret") {
			t.Errorf("got %v, want permission denied", err)
		}
	})
}

func TestARuleIsAFunction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer func() {
			if p := recover(); p == nil {
				t.Error("a rule that is nil was taken")
			}
		}()
		pubsub.Authorize(linktest.NewMesh(t).Node(link.Config{}), nil)
	})
}
