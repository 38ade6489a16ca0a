package link_test

import (
	"context"
	"errors"
	"strings"
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
					Limits: link.Limits{CallTimeout: 4 * time.Second}, Routing: link.Routing{Topology: parse(t, c.topology)}, Registry: &mute{mesh.Registry(), c.silent},
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

// TestTheTopologyThenTheMethodThenTheNodeSetTheTimeOfACall checks the order of precedence of those who may say how long a
// call takes. The deadline of a context comes before all of them.
func TestTheTopologyThenTheMethodThenTheNodeSetTheTimeOfACall(t *testing.T) {
	const (
		none     = "version: link/v1\n"
		defaults = none + "defaults: { timeout: 300ms }\n"
		service  = defaults + "services: { orders: { timeout: 400ms } }\n"
		rule     = none + "services: { orders: { timeout: 400ms, routes: [{ match: { method: get }, timeout: 500ms }] } }\n"
	)
	for name, c := range map[string]struct {
		topology string
		// method is the method's timeout and given that of the caller's context; 0 means none.
		method, given, took time.Duration
	}{
		"the node":                               {none, 0, 0, 4 * time.Second},
		"the method":                             {none, 2 * time.Second, 0, 2 * time.Second},
		"the method, for longer than the node":   {none, 8 * time.Second, 0, 8 * time.Second},
		"the topology's defaults":                {defaults, 2 * time.Second, 0, 300 * time.Millisecond},
		"the topology's service":                 {service, 2 * time.Second, 0, 400 * time.Millisecond},
		"the topology's route":                   {rule, 2 * time.Second, 0, 500 * time.Millisecond},
		"the topology, for longer than a method": {rule, time.Millisecond, 0, 500 * time.Millisecond},
		"the context":                            {rule, 2 * time.Second, 200 * time.Millisecond, 200 * time.Millisecond},
		"the context, for longer than all":       {rule, 2 * time.Second, 9 * time.Second, 9 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
				serveCopies(mesh, "orders", link.Config{}, func(ctx context.Context, _ order) (order, error) {
					<-ctx.Done()
					return order{}, ctx.Err()
				})
				method := reqrep.NewMethod[order, order]("orders", "get", link.Timeout(c.method))
				cfg := link.Config{Limits: link.Limits{CallTimeout: 4 * time.Second}, Routing: link.Routing{Topology: parse(t, c.topology)}}
				client := mesh.Node(cfg)
				cfg.Registry = &mute{mesh.Registry(), "orders"}
				waiting := mesh.Node(cfg)
				for what, do := range map[string]func(context.Context) error{
					"a call that runs":   func(ctx context.Context) error { _, err := reqrep.Call(ctx, client, method, order{}); return err },
					"a call that waits":  func(ctx context.Context) error { _, err := reqrep.Call(ctx, waiting, method, order{}); return err },
					"opening a stream":   func(ctx context.Context) error { _, err := link.HostOf(waiting).Open(ctx, method.Route()); return err },
					"a call of the host": func(ctx context.Context) error { return link.HostOf(client).Call(ctx, method.Route(), &order{}, nil) },
				} {
					ctx := t.Context()
					if c.given > 0 {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, c.given)
						defer cancel()
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

// TestATimeoutThatCannotBeIsRefused uses routes with timeouts out of range.
func TestATimeoutThatCannotBeIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "a")
		client := mesh.Node(link.Config{})
		for _, timeout := range []time.Duration{-1, 24*time.Hour + 1} {
			route := readOrder.Route().With(link.Timeout(timeout))
			for what, do := range map[string]func() error{
				"Call":    func() error { return link.HostOf(client).Call(t.Context(), route, &order{}, nil) },
				"Open":    func() error { _, err := link.HostOf(client).Open(t.Context(), route); return err },
				"Explain": func() error { _, err := client.Explain(t.Context(), route); return err },
			} {
				if err := do(); !errors.Is(err, link.InvalidArgument) || !strings.Contains(err.Error(), "Route.Timeout of orders/get is "+timeout.String()+", want 0 to 24h0m0s") {
					t.Errorf("%s with a timeout of %v: %v", what, timeout, err)
				}
			}
		}
		if err := link.HostOf(client).Call(t.Context(), readOrder.Route().With(link.Timeout(24*time.Hour)), &order{}, nil); err != nil {
			t.Errorf("the longest timeout: %v", err)
		}
	})
}

// TestAnExplanationShowsTheTimeoutThatApplies explains calls of a method with a timeout, with and without one of the topology.
func TestAnExplanationShowsTheTimeoutThatApplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "a")
		for topology, want := range map[string]time.Duration{
			"version: link/v1\n": 2 * time.Second,
			"version: link/v1\nservices: { orders: { timeout: 300ms } }\n": 300 * time.Millisecond,
		} {
			client := mesh.Node(link.Config{Routing: link.Routing{Topology: parse(t, topology)}})
			e, err := client.Explain(t.Context(), readOrder.Route().With(link.Timeout(2*time.Second)))
			if err != nil || e.Timeout != want || !strings.Contains(e.String(), "timeout "+want.String()) {
				t.Errorf("%v, timeout %v, want %v:\n%s", err, e.Timeout, want, e)
			}
		}
	})
}
