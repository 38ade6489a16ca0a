package link_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
	"github.com/linkmesh/link/topology"
)

// failing is a handler that panics while bad is set.
func failing(bad *atomic.Bool) orderHandler {
	return func(_ context.Context, o order) (order, error) {
		if bad.Load() {
			panic("broken") //nolint:forbidigo // the library sees that, and not what a handler means to return
		}
		return o, nil
	}
}

func TestAnEjectedLoneInstanceIsBetterThanNobody(t *testing.T) {
	for name, failover := range map[string]string{
		"none": "", "empty dr": "failover: [zone, service:orders-dr]", "empty subset": "failover: [any, subset:gone]",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				var bad atomic.Bool
				serveCopies(mesh, "orders", link.Config{Tags: []string{"a", "zone=z1"}}, failing(&bad))
				client := mesh.Node(link.Config{Tags: []string{"zone=z1"}, Routing: link.Routing{Topology: parse(t, `
version: link/v1
services:
  orders: { subsets: { gone: { tags: [gone] } }, `+failover+` }
`)}})
				warm(t, client)
				bad.Store(true)
				for range 5 {
					_, _ = ask(t, client)
				}
				bad.Store(false)
				if _, err := ask(t, client); err != nil {
					t.Errorf("after five failures, nobody else: %v", err)
				}
			})
		})
	}
}

func TestAWaitingCallSeesANewPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "b")
		registry := &shared{Registry: mesh.Registry(), policy: make(chan discovery.PolicyDocument, 1)}
		client := mesh.Node(link.Config{Registry: registry})
		registry.policy <- kv("version: link/v1\nservices: { orders: { subsets: { a: { tags: [a] } }, routes: [{ to: a }] } }\n")
		done := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			_, err := reqrep.Call(ctx, client, readOrder, order{ID: "o"}, link.WaitForReady())
			done <- err
		}()
		sleep(5 * time.Second)
		registry.policy <- kv("version: link/v1\nservices: { orders: { subsets: { a: { tags: [b] } }, routes: [{ to: a }] } }\n")
		sleep(time.Second)
		if _, err := ask(t, client); err != nil {
			t.Fatalf("a new call: %v", err)
		}
		start := time.Now()
		if err := <-done; err != nil {
			t.Errorf("the call that waited: %v, %v after the policy let it through", err, time.Since(start))
		}
	})
}

func TestCloseWaitsForAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var running atomic.Int32
		srv := serveCopies(mesh, "orders", link.Config{Monitors: map[string]func(context.Context) error{"db": func(ctx context.Context) error {
			running.Add(1)
			defer running.Add(-1)
			<-ctx.Done()
			// The probe takes some time to clean up.
			sleep(100 * time.Millisecond)
			return ctx.Err()
		}}}, keep)
		sleep(1500 * time.Millisecond)
		mesh.Stop(srv)
		if n := running.Load(); n != 0 {
			t.Errorf("%d probes still run after the node closed", n)
		}
		sleep(time.Second)
	})
}

func TestStickyKeysStayWhileALevelSpills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var bad atomic.Bool
		ordersAt(mesh, "a", "zone=z1")
		serveCopies(mesh, "orders", link.Config{Tags: []string{"b", "zone=z1"}}, failing(&bad))
		ordersAt(mesh, "c", "zone=z2")
		client := mesh.Node(link.Config{Tags: []string{"zone=z1"}, Routing: link.Routing{Topology: parse(t, `
version: link/v1
services:
  orders: { failover: [zone, any] }
`)}})
		warm(t, client)
		bad.Store(true)
		for range 40 {
			_, _ = ask(t, client)
		}
		t.Logf("%+v", client.Status().Services)
		split := 0
		for i := range 20 {
			if got := tally(t, client, 20, link.Sticky(fmt.Sprint("u", i))); len(got) != 1 {
				split++
				if split == 1 {
					t.Logf("key %d: %v", i, got)
				}
			}
		}
		if split > 0 {
			t.Errorf("%d of 20 sticky keys went to several instances in a steady state", split)
		}
	})
}

func TestAFailoverThatIsUnknownHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var bad atomic.Bool
		ordersAt(mesh, "a", "zone=z1")
		serveCopies(mesh, "orders", link.Config{Tags: []string{"b", "zone=z1"}}, failing(&bad))
		client := mesh.Node(link.Config{Tags: []string{"zone=z1"}, Registry: &mute{mesh.Registry(), "orders-dr"}, Routing: link.Routing{Topology: parse(t, `
version: link/v1
services:
  orders: { failover: [zone, service:orders-dr] }
`)}})
		warm(t, client)
		bad.Store(true)
		for range 40 {
			_, _ = ask(t, client)
			if client.Status().Services[0].Ejected > 0 {
				break
			}
		}
		// The instance stays ejected until a probe is answered.
		bad.Store(false)
		slow := 0
		for range 20 {
			start := time.Now()
			_, err := ask(t, client)
			if err != nil || time.Since(start) > time.Second {
				slow++
				if slow == 1 {
					t.Logf("%v after %v", err, time.Since(start))
				}
			}
		}
		if slow > 0 {
			t.Errorf("%d of 20 calls failed or hung though an instance is at hand", slow)
		}
	})
}

func TestACallThatConnectsSeesWhoJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, err := mesh.Registry().Register(t.Context(), discovery.Instance{ID: "orders-dead", Service: "orders", Addr: "10.9.9.1:1"})
		if err != nil {
			t.Fatal(err)
		}
		client := mesh.Node(link.Config{})
		type result struct {
			err  error
			took time.Duration
		}
		done := make(chan result, 1)
		start := time.Now()
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			_, err := reqrep.Call(ctx, client, readOrder, order{ID: "o"}, link.WaitForReady())
			done <- result{err, time.Since(start)}
		}()
		sleep(500 * time.Millisecond)
		ordersAt(mesh, "v1")
		joined := time.Since(start)
		sleep(time.Second)
		tally(t, client, 3)
		r := <-done
		if r.took-joined > time.Second {
			t.Errorf("%v; an instance joined at %v, the call ended at %v", r.err, joined, r.took)
		}
	})
}

func TestASocketThatFailsOnce(t *testing.T) {
	var lc net.ListenConfig
	taken, err := lc.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	registry, err := static.New()
	if err != nil {
		t.Fatal(err)
	}
	defer registry.Close()
	srv, err := link.New(link.Config{Service: "orders", Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	reqrep.Handle(srv, readOrder, keep)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	<-srv.Ready()
	client, err := link.New(link.Config{Registry: registry, Addr: taken.LocalAddr().String()})
	if err != nil {
		t.Fatal(err)
	}
	soon, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	if list, err := client.Instances(soon, "orders"); err == nil {
		t.Errorf("without a socket: %v", list)
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := reqrep.Call(t.Context(), client, readOrder, order{ID: "o"}); err != nil {
		t.Errorf("once the socket can be had: %v", err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestWhatACallAsksForGoesBeforeTheSplit checks that call options override the split in the topology of the README.
func TestWhatACallAsksForGoesBeforeTheSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		at := []string{"zone=eu-1a", "region=eu"}
		a := ordersAt(mesh, append([]string{"v1"}, at...)...)
		b := ordersAt(mesh, append([]string{"v2"}, at...)...)
		serveCopies(mesh, "orders-dr", link.Config{Tags: []string{"dr", "v1"}}, keep)
		client := mesh.Node(link.Config{Tags: at, Routing: link.Routing{TopologyFile: "topology/testdata/readme.yaml"}})
		warm(t, client)
		for name, c := range map[string]struct {
			opt  link.CallOption
			node *link.Node
		}{
			"the canary":  {link.OnTags("v2"), b},
			"stable":      {link.OnTags("v1"), a},
			"an instance": {link.OnInstance(b.Instance()), b},
		} {
			for range 100 {
				if who, err := ask(t, client, c.opt); err != nil || who.Instance != c.node.Instance() {
					t.Fatalf("%s: %v answered, %v", name, who, err)
				}
			}
			e, err := client.Explain(t.Context(), link.Route{Service: "orders", Name: "get"}, c.opt)
			if err != nil {
				t.Fatal(err)
			}
			for _, in := range e.Instances {
				if in.Service == "orders" && in.Chosen != (in.ID == c.node.Instance()) {
					t.Errorf("%s: the explanation is another:\n%s", name, e)
				}
			}
		}
		if _, err := ask(t, client, link.OnTags("no such")); !errors.Is(err, link.InvalidArgument) {
			t.Errorf("a tag that cannot be one: %v", err)
		}
		if got := tally(t, client, 50, link.InZone()); got["dr"] != 0 {
			t.Errorf("in the zone: %v", got)
		}
	})
}

// TestAWrongIdentityIsNotTriedForFiveMinutes counts the handshakes that calls once a second cause.
func TestAWrongIdentityIsNotTriedForFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		rogue := serveCopies(mesh, "mallory", link.Config{}, keep)
		in := discovery.Instance{ID: "orders-rogue", Service: "orders", Addr: rogue.Addr()}
		if _, err := mesh.Registry().Register(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		log := &logBuffer{}
		client := mesh.Node(link.Config{Logger: log.logger()})
		for i := range 301 {
			// Calls that wait for the same dial find out the same.
			var callers sync.WaitGroup
			for range 8 {
				callers.Go(func() {
					if _, err := ask(t, client); !errors.Is(err, link.Unauthenticated) {
						t.Errorf("after %d s: %v", i, err)
					}
				})
			}
			callers.Wait()
			want := 1 + i/300
			if n := strings.Count(log.String(), "presents the wrong identity"); n != want {
				t.Fatalf("after %d s that was said %d times, want %d", i, n, want)
			}
			sleep(time.Second)
		}
	})
}

// TestWhatIsSaidOnceIsSaidOnce checks that a warning is logged once even if its document changes often in other respects.
func TestWhatIsSaidOnceIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := ordersAt(mesh, "a")
		configured, err := static.New(discovery.Instance{ID: node.Status().Instance, Service: "orders", Addr: node.Status().Addr, Tags: []string{"a"}})
		if err != nil {
			t.Fatal(err)
		}
		registry := &shared{Registry: configured, policy: make(chan discovery.PolicyDocument, 1), origin: discovery.FromConfig}
		log := &logBuffer{}
		client := mesh.Node(link.Config{Registry: registry, Logger: log.logger()})
		for i := range 20 {
			registry.policy <- kv(fmt.Sprintf("version: link/v1\nservices: { orders: { timeout: %ds, subsets: { gone: { tags: [b] } }, failover: [zone, region, any, subset:gone] } }\n", i+1))
			sleep(time.Second)
			if _, err := ask(t, client); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range []string{"no instance of the configured list can belong to a subset", "a failover list names the zone", "a failover list names the region"} {
			if n := strings.Count(log.String(), want); n != 1 {
				t.Errorf("of 20 documents the log says %d times %q, want once", n, want)
			}
		}
	})
}

// TestAFailoverByPlaceOfANodeThatIsNowhereIsSaid checks the log for each kind of place: zone, region and dc.
func TestAFailoverByPlaceOfANodeThatIsNowhereIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		for word, key := range map[string]string{"zone": "zone", "region": "region", "dc": "dc"} {
			log := &logBuffer{}
			doc := &topology.Document{Services: map[string]topology.Service{"orders": {Failover: []string{word, "any"}}}}
			for _, tags := range [][]string{nil, {key + "=1"}} {
				client := mesh.Node(link.Config{Routing: link.Routing{Topology: doc}, Logger: log.logger(), Tags: tags})
				if _, err := client.Explain(t.Context(), putOrder.Route()); err != nil {
					t.Fatal(err)
				}
			}
			if text := log.String(); strings.Count(text, "but this node has none") != 1 || !strings.Contains(text, `Config.Tags or LINK_TAGS: \"`+key+"=") {
				t.Errorf("%s: want one line:\n%s", word, text)
			}
		}
	})
}

func TestACallInTheZoneOfANodeThatHasNoneSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		orders(mesh, link.Config{Tags: []string{"zone=a"}}, keep)
		for _, tt := range []struct {
			tags []string
			want string
		}{
			{nil, "which is for this node's zone, which is not set (Config.Tags or LINK_ZONE)"},
			{[]string{"zone=b"}, `which is for zone "b"`},
		} {
			err := put(t.Context(), mesh.Node(link.Config{Tags: tt.tags}), link.InZone())
			if !errors.Is(err, link.Unavailable) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%q: %v, want %q", tt.tags, err, tt.want)
			}
		}
	})
}
