package link_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// TestMoreSetsOfTagsThanAreKeptReady calls with more sets of tags than a node keeps, twice, and expects
// each call to reach an instance with its tags.
func TestMoreSetsOfTagsThanAreKeptReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		tags := []string{"a", "b", "c", "d", "e", "f", "g"}
		ordersAt(mesh, tags...)
		ordersAt(mesh, "x")
		client := mesh.Node(link.Config{})
		for range 2 {
			// There are 127 sets, of which a node keeps 64.
			for set := 1; set < 1<<len(tags); set++ {
				var want []string
				for i, tag := range tags {
					if set>>i&1 == 1 {
						want = append(want, tag)
					}
				}
				if who, err := ask(t, client, link.OnTags(want...)); err != nil || len(who.Tags) == 1 {
					t.Fatalf("a call for %v: answered by one with %v, %v", want, who.Tags, err)
				}
			}
		}
	})
}

// tardy is a registry that does not answer for one service until let is closed.
type tardy struct {
	discovery.Registry

	service string
	let     chan struct{}
}

func (r *tardy) Watch(ctx context.Context, q discovery.Query) (<-chan discovery.Snapshot, error) {
	from, err := r.Registry.Watch(ctx, q)
	if err != nil || q.Service != r.service {
		return from, err
	}
	to := make(chan discovery.Snapshot)
	go func() {
		defer close(to)
		select {
		case <-r.let:
		case <-ctx.Done():
			return
		}
		for s := range from {
			select {
			case to <- s:
			case <-ctx.Done():
				return
			}
		}
	}()
	return to, nil
}

// TestAFailoverToAServiceThatIsNotHeardOfIsWaitedFor checks that a call waits for a failover service if no other
// instance is left.
func TestAFailoverToAServiceThatIsNotHeardOfIsWaitedFor(t *testing.T) {
	for _, failover := range []string{"[zone, service:orders-dr]", "[zone, service:orders-dr, any]"} {
		t.Run(failover, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				serveCopies(mesh, "orders-dr", link.Config{Tags: []string{"dr"}}, keep)
				registry := &tardy{Registry: mesh.Registry(), service: "orders-dr", let: make(chan struct{})}
				client := mesh.Node(link.Config{Tags: []string{"zone=z1"}, Registry: registry, Routing: link.Routing{Topology: parse(t, `
version: link/v1
services:
  orders: { failover: `+failover+` }
`)}})
				time.AfterFunc(2*time.Second, func() { close(registry.let) })
				begin := time.Now()
				who, err := ask(t, client)
				if took := time.Since(begin); err != nil || who.Identity.Service() != "orders-dr" || took < 2*time.Second {
					t.Errorf("answered by %v after %v, %v; want orders-dr, once the registry has spoken", who, took, err)
				}
			})
		})
	}
}

// TestCallsThatMeetTheEndOfAConnection makes calls at the moments at which an unused connection
// is closed. None of them has been sent, so none fails, and none runs twice.
func TestCallsThatMeetTheEndOfAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var runs atomic.Int64
		orders(mesh, link.Config{}, func(_ context.Context, o order) (order, error) {
			runs.Add(1)
			return o, nil
		})
		client := mesh.Node(link.Config{Limits: link.Limits{SessionIdle: time.Nanosecond}})
		const callers, seconds = 10, 30
		var calls sync.WaitGroup
		for caller := range callers {
			calls.Go(func() {
				for i := range seconds {
					if _, err := reqrep.Call(t.Context(), client, putOrder, order{ID: fmt.Sprint(caller, "-", i)}); err != nil {
						t.Errorf("call %d of %d: %v", i, caller, err)
					}
					// The node looks for unused connections once a second.
					sleep(time.Second)
				}
			})
		}
		calls.Wait()
		if got := runs.Load(); got != callers*seconds {
			t.Errorf("%d runs of %d calls", got, callers*seconds)
		}
	})
}
