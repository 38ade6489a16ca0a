package link_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
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

// mute is a registry that never answers for one service.
type mute struct {
	discovery.Registry

	service string
}

func (m *mute) Watch(ctx context.Context, q discovery.Query) (<-chan discovery.Snapshot, error) {
	if q.Service != m.service {
		return m.Registry.Watch(ctx, q)
	}
	ch := make(chan discovery.Snapshot)
	go func() { <-ctx.Done(); close(ch) }()
	return ch, nil
}

// emptied is a registry that lists no instances while empty is set.
type emptied struct {
	discovery.Registry

	empty *atomic.Bool
}

func (m *emptied) Watch(ctx context.Context, q discovery.Query) (<-chan discovery.Snapshot, error) {
	from, err := m.Registry.Watch(ctx, q)
	if err != nil {
		return nil, err
	}
	to := make(chan discovery.Snapshot)
	go func() {
		defer close(to)
		for s := range from {
			if m.empty.Load() {
				s.Instances = nil
			}
			select {
			case to <- s:
			case <-ctx.Done():
				return
			}
		}
	}()
	return to, nil
}

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

func TestForgedTagsAtAnHonestAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		honest := ordersAt(mesh, "v1")
		client := mesh.Node(link.Config{Registry: &shared{Registry: mesh.Registry()}})
		warm(t, client)
		in := discovery.Instance{ID: "orders-forged", Service: "orders", Addr: honest.Addr(), Tags: []string{"gold"}}
		if _, err := mesh.Registry().Register(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		sleep(time.Second)
		if who, err := ask(t, client, link.OnTags("gold")); err == nil {
			t.Errorf("a tag that the registry invented: answered by %v with tags %v", who.Instance, who.Tags)
		}
		if who, err := ask(t, client, link.OnInstance("orders-forged")); err == nil {
			t.Errorf("OnInstance(orders-forged) was answered by %v", who.Instance)
		}
	})
}

func TestABarGoesWithTheAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		rogue := serveCopies(mesh, "mallory", link.Config{}, keep)
		var wrong atomic.Bool
		wrong.Store(true)
		honest := ordersAt(mesh, "v1")
		registry := &shared{Registry: mesh.Registry(), change: func(in *discovery.Instance) {
			if in.Service == "orders" && wrong.Load() {
				in.Addr = rogue.Addr()
			}
		}}
		client := mesh.Node(link.Config{Registry: registry})
		_, err := ask(t, client)
		t.Logf("with the wrong address: %v", err)
		wrong.Store(false)
		dummy, err := mesh.Registry().Register(t.Context(), discovery.Instance{ID: "orders-zz", Service: "orders", Addr: rogue.Addr(), Status: discovery.Draining})
		if err != nil {
			t.Fatal(err)
		}
		defer dummy.Close()
		sleep(time.Second)
		_ = honest
		if _, err := ask(t, client); err != nil {
			e, _ := client.Explain(t.Context(), link.Route{Service: "orders", Name: "get"})
			t.Errorf("1 s after its address was fixed: %v\n%s", err, e)
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

func TestAStreamOutranksTheRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		topic := link.Route{Service: "orders", Name: "placed", Kind: link.KindTopic}
		node := mesh.Node(link.Config{Service: "orders"})
		link.HostOf(node).Handle(topic, func(ctx context.Context, _ *link.Stream) error { <-ctx.Done(); return nil })
		mesh.Start(node)
		var empty atomic.Bool
		registry := &shared{Registry: mesh.Registry()}
		gate := &emptied{registry, &empty}
		client := mesh.Node(link.Config{Registry: gate})
		s, err := link.HostOf(client).Open(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		sleep(time.Second)
		empty.Store(true)
		r, err := mesh.Registry().Register(t.Context(), discovery.Instance{ID: "orders-zz", Service: "orders", Addr: "10.1.1.1:1", Status: discovery.Draining})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		sleep(5 * time.Second)
		st := client.Status().Services[0]
		if st.Held != 1 {
			t.Errorf("an instance with a live stream is not held: %+v", st)
		}
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

func TestOddTagsPoisonNobody(t *testing.T) {
	for name, c := range map[string]struct{ odd, later []link.CallOption }{
		"an empty tag": {[]link.CallOption{link.OnTags("")}, nil},
		"a space":      {[]link.CallOption{link.OnTags("v1 zone=z1")}, []link.CallOption{link.OnTags("v1", "zone=z1")}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				ordersAt(mesh, "v1", "zone=z1")
				client := mesh.Node(link.Config{})
				_, err := ask(t, client, c.odd...)
				t.Logf("the odd call: %v", err)
				sleep(time.Minute)
				if _, err := ask(t, client, c.later...); err != nil {
					t.Errorf("a good call a minute later: %v", err)
				}
			})
		})
	}
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

// TestTheLastConnectionOutranksTheRegistry has live instances vanish one by one from a registry that others can write to.
func TestTheLastConnectionOutranksTheRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		for i := range 4 {
			ordersAt(mesh, fmt.Sprint("n", i))
		}
		ghost := discovery.Instance{ID: "orders-ghost", Service: "orders", Addr: "10.9.9.9:7443"}
		if _, err := mesh.Registry().Register(t.Context(), ghost); err != nil {
			t.Fatal(err)
		}
		var hidden atomic.Int32
		registry := &hiding{shared: &shared{Registry: mesh.Registry()}, hidden: &hidden}
		log := &logBuffer{}
		client := mesh.Node(link.Config{Registry: registry, Logger: log.logger()})
		for range 50 {
			warm(t, client)
		}
		for n := range 4 {
			hidden.Store(int32(n + 1))
			// Change the registry so that it sends a new snapshot.
			in := discovery.Instance{ID: fmt.Sprint("orders-zz", n), Service: "orders", Addr: "10.9.9.9:7443", Status: discovery.Draining}
			if _, err := mesh.Registry().Register(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			sleep(time.Second)
		}
		// 200 s is longer than the minimum time for which vanished instances are held.
		for range 200 {
			if _, err := ask(t, client); err != nil {
				t.Fatalf("an instance whose connection answers was dropped: %v", err)
			}
			sleep(time.Second)
		}
		if !strings.Contains(log.String(), "stay in use while") {
			t.Errorf("log:\n%s", log)
		}
	})
}

// hiding is a shared registry that leaves out the first n live instances, which are those with tags. n is in hidden.
type hiding struct {
	*shared

	hidden *atomic.Int32
}

func (h *hiding) Watch(ctx context.Context, q discovery.Query) (<-chan discovery.Snapshot, error) {
	from, err := h.shared.Watch(ctx, q)
	if err != nil {
		return nil, err
	}
	to := make(chan discovery.Snapshot)
	go func() {
		defer close(to)
		for s := range from {
			var kept []discovery.Instance
			left := int(h.hidden.Load())
			for _, in := range s.Instances {
				if left > 0 && len(in.Tags) > 0 {
					left--
					continue
				}
				kept = append(kept, in)
			}
			s.Instances = kept
			select {
			case to <- s:
			case <-ctx.Done():
				return
			}
		}
	}()
	return to, nil
}

// ill is a registry in which nothing can be registered until a given time.
type ill struct {
	discovery.Registry

	until time.Time
}

func (i *ill) Register(ctx context.Context, in discovery.Instance) (discovery.Registration, error) {
	if time.Now().Before(i.until) {
		return nil, fmt.Errorf("no answer: %w", discovery.ErrUnavailable)
	}
	return i.Registry.Register(ctx, in)
}

func TestANodeStartsWhileItsRegistryIsIll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		log := &logBuffer{}
		node := mesh.Node(link.Config{
			Service: "orders", Logger: log.logger(),
			Registry: &ill{Registry: mesh.Registry(), until: time.Now().Add(10 * time.Second)},
		})
		reqrep.Handle(node, readOrder, keep)
		start := time.Now()
		// Start waits until the node is ready.
		mesh.Start(node)
		if took := time.Since(start); took < 10*time.Second || took > 20*time.Second {
			t.Errorf("announced after %v, and the registry was well after 10 s", took)
		}
		if _, err := ask(t, mesh.Node(link.Config{})); err != nil {
			t.Error(err)
		}
		if n := strings.Count(log.String(), "the registry cannot be reached"); n != 1 {
			t.Errorf("%d log lines:\n%s", n, log)
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
			if _, err := ask(t, client); !errors.Is(err, link.Unauthenticated) {
				t.Fatalf("after %d s: %v", i, err)
			}
			want := 1 + i/300
			if n := strings.Count(log.String(), "presents the wrong identity"); n != want {
				t.Fatalf("after %d s it was tried %d times, want %d", i, n, want)
			}
			sleep(time.Second)
		}
	})
}

// TestCallsGoOnWhileTheRegistryIsIll makes a call a second for ten minutes while the registry's snapshots are stale.
func TestCallsGoOnWhileTheRegistryIsIll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "a")
		ordersAt(mesh, "b")
		registry := &staling{Registry: mesh.Registry(), after: time.Now().Add(time.Second)}
		log := &logBuffer{}
		client := mesh.Node(link.Config{Registry: registry, Logger: log.logger()})
		warm(t, client)
		sleep(2 * time.Second)
		end := time.Now().Add(10 * time.Minute)
		for i := 0; time.Now().Before(end); i++ {
			if _, err := ask(t, client); err != nil {
				t.Fatalf("call %d: %v", i, err)
			}
			sleep(time.Second)
		}
		s := client.Status().Services[0]
		if !s.Stale || s.Reason != "gone" || s.Instances != 2 {
			t.Errorf("status %+v", s)
		}
		if n := strings.Count(log.String(), "the registry cannot be read"); n != 1 {
			t.Errorf("%d log lines:\n%s", n, log)
		}
	})
}

// staling is a registry whose snapshots become stale at a given time.
type staling struct {
	discovery.Registry

	after time.Time
}

func (s *staling) Watch(ctx context.Context, q discovery.Query) (<-chan discovery.Snapshot, error) {
	from, err := s.Registry.Watch(ctx, q)
	if err != nil {
		return nil, err
	}
	to := make(chan discovery.Snapshot)
	go func() {
		defer close(to)
		var last discovery.Snapshot
		ill := time.NewTimer(time.Until(s.after))
		defer ill.Stop()
		for {
			select {
			case snapshot, ok := <-from:
				if !ok {
					return
				}
				last = snapshot
			case <-ill.C:
				last.Stale, last.Reason, last.Version = true, "gone", last.Version+1
			}
			select {
			case to <- last:
			case <-ctx.Done():
				return
			}
		}
	}()
	return to, nil
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
