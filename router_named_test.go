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
	"github.com/linkmesh/link/topology"
)

// chosenTags returns the tags of the instances that an explanation says the call may go to.
func chosenTags(e *topology.Explanation) string {
	var tags []string
	for _, in := range e.Instances {
		if in.Chosen {
			tags = append(tags, in.Tags...)
		}
	}
	return strings.Join(tags, " ")
}

// TestACallThatNamesItsInstanceHasTheSettingsOfItsRule makes and explains calls to an instance to which the topology
// sends none. Timeout, retries and mirror apply, and the explanation says so.
func TestACallThatNamesItsInstanceHasTheSettingsOfItsRule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "a")
		var runs, copies atomic.Int32
		b := serveCopies(mesh, "orders", link.Config{Tags: []string{"b"}}, func(ctx context.Context, o order) (order, error) {
			runs.Add(1)
			if o.ID == "slow" {
				<-ctx.Done()
				return order{}, ctx.Err()
			}
			return order{}, link.Errorf(link.Unavailable, "not now")
		})
		serveCopies(mesh, "orders-shadow", link.Config{}, func(_ context.Context, o order) (order, error) {
			copies.Add(1)
			return o, nil
		})
		client := mesh.Node(link.Config{Routing: link.Routing{Topology: parse(t, `
version: link/v1
services:
  orders:
    subsets: { a: { tags: [a] } }
    routes:
      - { match: { topic: placed }, to: a }
      - { to: { a: 90, any: 10 }, timeout: 300ms, retry: { attempts: 2, budget: 100% } }
    mirror: { to: service:orders-shadow, percent: 100 }
defaults: { timeout: 7s }
`)}})
		e, err := client.Explain(t.Context(), readOrder.Route(), link.OnInstance(b.Instance()))
		if err != nil {
			t.Fatal(err)
		}
		if e.Asked || e.Target != b.Instance() || len(e.Shares) > 0 || chosenTags(&e) != "b" {
			t.Errorf("the topology was asked for an instance:\n%s", e)
		}
		if e.Rule != 1 || len(e.Passed) != 1 || e.Timeout != 300*time.Millisecond || e.Retry.Attempts != 2 || e.Mirror == nil {
			t.Errorf("the explanation lacks the settings of the rule: %+v", e)
		}
		for _, want := range []string{
			"\nroutes[1]: the call names its instance, " + b.Instance() + "; the topology chooses none\n  (routes[0] is for topic orders/placed)\n",
			"\ncalls: timeout 300ms, up to 2 attempts, 100% mirrored to service:orders-shadow\n",
			"<- picked here (named by the call)\n",
		} {
			if !strings.Contains(e.String(), want) {
				t.Errorf("the text lacks %q:\n%s", want, e)
			}
		}
		start := time.Now()
		_, err = reqrep.Call(t.Context(), client, readOrder, order{ID: "slow"}, link.OnInstance(b.Instance()))
		if took := time.Since(start); !errors.Is(err, link.DeadlineExceeded) || took < 300*time.Millisecond || took > 400*time.Millisecond {
			t.Errorf("%v after %v, want DeadlineExceeded after 300ms", err, took)
		}
		runs.Store(0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = reqrep.Call(ctx, client, readOrder, order{ID: "o"}, link.OnInstance(b.Instance()))
		if !errors.Is(err, link.Unavailable) || runs.Load() != 2 {
			t.Errorf("%v after %d runs, want Unavailable after 2", err, runs.Load())
		}
		sleep(time.Second)
		if n := copies.Load(); n != 2 {
			t.Errorf("%d copies of 2 calls", n)
		}
	})
}

// TestTheTimeoutOfAMethodIsExplainedForACallThatNamesItsInstance uses a method with a timeout, and no topology.
func TestTheTimeoutOfAMethodIsExplainedForACallThatNamesItsInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		a := ordersAt(mesh, "a")
		client := mesh.Node(link.Config{})
		e, err := client.Explain(t.Context(), readOrder.Route().With(link.Timeout(2*time.Second)), link.OnInstance(a.Instance()))
		if err != nil || e.Timeout != 2*time.Second || !strings.Contains(e.String(), "\nno policy: the call names its instance, ") {
			t.Errorf("%v, timeout %v, want 2s:\n%s", err, e.Timeout, e)
		}
	})
}

// TestACallThatNamesItsInstanceAsksForNothingElse makes and explains calls to an instance that is ejected and lacks the
// tags and the zone that the calls ask for.
func TestACallThatNamesItsInstanceAsksForNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "a")
		var bad atomic.Bool
		b := serveCopies(mesh, "orders", link.Config{Tags: []string{"b"}}, failing(&bad))
		client := mesh.Node(link.Config{Tags: []string{"zone=z1"}})
		warm(t, client)
		bad.Store(true)
		for range 40 {
			if _, _ = ask(t, client, link.OnInstance(b.Instance())); client.Status().Services[0].Ejected > 0 {
				break
			}
		}
		if client.Status().Services[0].Ejected == 0 {
			t.Fatal("the instance is not ejected")
		}
		opts := []link.CallOption{link.OnInstance(b.Instance()), link.OnTags("c"), link.InZone()}
		e, err := client.Explain(t.Context(), readOrder.Route(), opts...)
		if err != nil || chosenTags(&e) != "b" {
			t.Errorf("%v, want that the call goes to b:\n%s", err, e)
		}
		bad.Store(false)
		if who, err := ask(t, client, opts...); err != nil || who.Instance != b.Instance() {
			t.Errorf("%v answered, %v", who, err)
		}
	})
}
