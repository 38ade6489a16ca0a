package link_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// TestACallWaitsForNothingLongerThanItsTopologySays calls services for which the registry does not answer.
func TestACallWaitsForNothingLongerThanItsTopologySays(t *testing.T) {
	const redirect = "version: link/v1\nservices: { orders: { routes: [{ to: service:orders-new, timeout: 200ms }] } }\n"
	for name, c := range map[string]struct {
		topology, silent string
		// given is the timeout of the caller's context; 0 means none.
		given time.Duration
		took  time.Duration
	}{
		"another service of a route":              {redirect, "orders-new", 0, 200 * time.Millisecond},
		"the same, with a deadline":               {redirect, "orders-new", time.Second, time.Second},
		"the service, by defaults":                {"version: link/v1\ndefaults: { timeout: 300ms }\n", "orders", 0, 300 * time.Millisecond},
		"the service, by its route":               {redirect, "orders", 0, 200 * time.Millisecond},
		"the service, with a deadline":            {redirect, "orders", time.Second, time.Second},
		"the service, where the topology is mute": {"version: link/v1\n", "orders", 0, 4 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				ordersAt(mesh, "a")
				client := mesh.Node(link.Config{
					CallTimeout: 4 * time.Second, Topology: parse(t, c.topology), Registry: &mute{mesh.Registry(), c.silent},
				})
				ctx := t.Context()
				if c.given > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.given)
					defer cancel()
				}
				call := func(ctx context.Context) error {
					_, err := reqrep.Call(ctx, client, readOrder, order{ID: "o"})
					return err
				}
				open := func(ctx context.Context) error {
					_, err := link.HostOf(client).Open(ctx, readOrder.Route())
					return err
				}
				for what, do := range map[string]func(context.Context) error{"Call": call, "Open": open} {
					// Call uses up the deadline of ctx, which leaves none to Open.
					if c.given > 0 && what == "Open" {
						continue
					}
					start := time.Now()
					if err := do(ctx); !errors.Is(err, link.DeadlineExceeded) || time.Since(start) != c.took {
						t.Errorf("%s: %v after %v, want DeadlineExceeded after %v", what, err, time.Since(start), c.took)
					}
				}
			})
		})
	}
}

// TestAChangedTopologyChangesTheTimeOfACallThatWaits changes the timeout while a call waits for an instance.
func TestAChangedTopologyChangesTheTimeOfACallThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		registry := &shared{Registry: mesh.Registry(), policy: make(chan discovery.PolicyDocument, 1)}
		client := mesh.Node(link.Config{Registry: registry})
		registry.policy <- kv("version: link/v1\nservices: { orders: { timeout: 20s } }\n")
		start := time.Now()
		time.AfterFunc(time.Second, func() {
			registry.policy <- kv("version: link/v1\nservices: { orders: { timeout: 3s } }\n")
		})
		if _, err := ask(t, client, link.WaitForReady()); !errors.Is(err, link.DeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("%v after %v, want DeadlineExceeded after 3 s", err, time.Since(start))
		}
	})
}
