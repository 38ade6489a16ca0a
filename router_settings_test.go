package link_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

func TestFaultsAreInjectedWhereTheyAreAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "v1")
		delayed := mesh.Node(link.Config{Routing: link.Routing{AllowFaults: true, Topology: parse(t, `
version: link/v1
services: { orders: { fault: { delay: 200ms, percent: 100 } } }
`)}})
		start := time.Now()
		if _, err := ask(t, delayed); err != nil || time.Since(start) < 200*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := reqrep.Call(ctx, delayed, readOrder, order{ID: "o"}); !errors.Is(err, link.DeadlineExceeded) {
			t.Errorf("a delay beyond the deadline: %v", err)
		}
		broken := mesh.Node(link.Config{Routing: link.Routing{AllowFaults: true, Topology: parse(t, `
version: link/v1
services: { orders: { fault: { abort: aborted, percent: 50 } } }
`)}})
		failed := 0
		for range 100 {
			if _, err := ask(t, broken); errors.Is(err, link.Aborted) {
				failed++
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if failed < 25 || failed > 75 {
			t.Errorf("%d of 100 calls failed, want about half", failed)
		}
	})
}

func TestTimeoutAndRetriesOfARoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var runs atomic.Int32
		serveCopies(mesh, "orders", link.Config{Tags: []string{"v1"}}, func(ctx context.Context, o order) (order, error) {
			runs.Add(1)
			if o.ID == "slow" {
				<-ctx.Done()
				return order{}, ctx.Err()
			}
			return order{}, link.Errorf(link.Unavailable, "not now")
		})
		client := mesh.Node(link.Config{Routing: link.Routing{Topology: parse(t, `
version: link/v1
services:
  orders:
    routes: [{ match: { method: get }, timeout: 300ms, retry: { attempts: 5, budget: 100% } }]
defaults: { timeout: 7s }
`)}})
		start := time.Now()
		_, err := reqrep.Call(t.Context(), client, readOrder, order{ID: "slow"})
		if took := time.Since(start); !errors.Is(err, link.DeadlineExceeded) || took < 300*time.Millisecond || took > 400*time.Millisecond {
			t.Errorf("%v after %v", err, took)
		}
		runs.Store(0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := reqrep.Call(ctx, client, readOrder, order{ID: "o"}); !errors.Is(err, link.Unavailable) || runs.Load() != 5 {
			t.Errorf("%v after %d runs, want 5", err, runs.Load())
		}
		never := mesh.Node(link.Config{Routing: link.Routing{Topology: parse(t, `
version: link/v1
defaults: { retry: { on: [resource_exhausted] } }
`)}})
		runs.Store(0)
		if _, err := reqrep.Call(ctx, never, readOrder, order{ID: "o"}); !errors.Is(err, link.Unavailable) || runs.Load() != 1 {
			t.Errorf("%v after %d runs, want 1: only what is overloaded is tried again", err, runs.Load())
		}
	})
}

// TestEveryPatternIsRoutedAlike opens streams of the kinds that publish/subscribe
// and pipeline use.
func TestEveryPatternIsRoutedAlike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		topic := link.Route{Service: "orders", Name: "placed", Kind: link.KindTopic}
		stage := link.Route{Service: "orders", Name: "pack", Kind: link.KindStage}
		for _, tag := range []string{"a", "b"} {
			node := mesh.Node(link.Config{Service: "orders", Tags: []string{tag}})
			for _, r := range []link.Route{topic, stage} {
				link.HostOf(node).Handle(r, func(context.Context, *link.Stream) error { return nil })
			}
			mesh.Start(node)
		}
		client := mesh.Node(link.Config{Routing: link.Routing{Topology: parse(t, `
version: link/v1
services:
  orders:
    subsets: { a: { tags: [a] }, b: { tags: [b] } }
    routes:
      - { match: { topic: "pla*" }, to: a }
      - { match: { stage: pack }, to: b }
`)}})
		for route, want := range map[link.Route]string{topic: "a", stage: "b"} {
			for range 20 {
				var who link.Peer
				s, err := link.HostOf(client).Open(t.Context(), route, link.AnsweredBy(&who))
				if err != nil {
					t.Fatal(err)
				}
				if who.Tags[0] != want {
					t.Errorf("%s was opened on %v, want %s", route, who.Tags, want)
				}
				s.Close()
			}
		}
	})
}

func TestExplainSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		v1, v2 := ordersAt(mesh, "v1"), ordersAt(mesh, "v2")
		client := mesh.Node(link.Config{Routing: link.Routing{Topology: parse(t, canary)}})
		route := link.Route{Service: "orders", Name: "get"}
		// The call asks for the canary by its tag, since the split may not choose it.
		if _, err := ask(t, client, link.OnTags("v2")); err == nil {
			t.Log("the canary may be asked by its tag")
		}
		e, err := client.Explain(t.Context(), route, link.Meta("x-canary", "1"))
		if err != nil {
			t.Fatal(err)
		}
		chosen := make(map[string]bool)
		for _, in := range e.Instances {
			chosen[in.ID] = in.Chosen
		}
		if len(chosen) != 2 || chosen[v1.Instance()] || !chosen[v2.Instance()] {
			t.Errorf("chosen %v", chosen)
		}
		text := e.String()
		for _, want := range []string{"get", "canary", v1.Instance(), v2.Instance(), "level 1 comes first"} {
			if !strings.Contains(text, want) {
				t.Errorf("the text lacks %q:\n%s", want, text)
			}
		}
		mesh.Kill(v2)
		tally(t, client, 3, link.Meta("x-canary", "1"))
		if e, err = client.Explain(t.Context(), route, link.Meta("x-canary", "1")); err != nil {
			t.Fatal(err)
		}
		for _, in := range e.Instances {
			if in.ID == v1.Instance() && !in.Chosen {
				t.Errorf("after the canary died:\n%s", e)
			}
		}
		if _, err := client.Explain(t.Context(), link.Route{Service: "orders"}); !errors.Is(err, link.InvalidArgument) {
			t.Errorf("a route without a name: %v", err)
		}
	})
}
