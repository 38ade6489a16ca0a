package link_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/presence"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
	"github.com/linkmesh/link/topology"
)

// readOrder is read-only: it may run twice.
var readOrder = reqrep.NewMethod[order, order]("orders", "get", link.ReadOnly)

// serveCopies starts a node of a service that serves the same method as readOrder.
func serveCopies(mesh *linktest.Mesh, service string, cfg link.Config, h orderHandler) *link.Node {
	cfg.Service = service
	node := mesh.Node(cfg)
	reqrep.Handle(node, reqrep.NewMethod[order, order](service, "get", link.ReadOnly), h)
	mesh.Start(node)
	return node
}

// ordersAt starts an instance of orders with tags.
func ordersAt(mesh *linktest.Mesh, tags ...string) *link.Node {
	return serveCopies(mesh, "orders", link.Config{Tags: tags}, keep)
}

// parse parses a topology document.
func parse(t *testing.T, text string) *topology.Document {
	t.Helper()
	doc, err := topology.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// ask calls readOrder and returns the peer that answered.
func ask(t *testing.T, client *link.Node, opts ...link.CallOption) (link.Peer, error) {
	t.Helper()
	var who link.Peer
	_, err := reqrep.Call(t.Context(), client, readOrder, order{ID: "o"}, append(opts, link.AnsweredBy(&who))...)
	return who, err
}

// warm lets a client connect to all instances it may call.
func warm(t *testing.T, client *link.Node, opts ...link.CallOption) {
	t.Helper()
	for range 10 {
		if _, err := ask(t, client, opts...); err != nil {
			t.Fatal(err)
		}
		sleep(10 * time.Millisecond)
	}
}

// tally calls ask n times and counts the answers by the first tag of the peer that answered.
func tally(t *testing.T, client *link.Node, n int, opts ...link.CallOption) map[string]int {
	t.Helper()
	got := make(map[string]int)
	for range n {
		who, err := ask(t, client, opts...)
		if err != nil {
			t.Fatal(err)
		}
		got[who.Tags[0]]++
	}
	return got
}

const canary = `
version: link/v1
services:
  orders:
    subsets:
      stable: { tags: [v1] }
      canary: { tags: [v2] }
    routes:
      - { match: { meta: { x-canary: "1" } }, to: canary }
      - { to: { stable: 90, canary: 10 }, sticky: meta:user }
    failover: [subset:stable, subset:canary]
`

func TestCallsAreSplitByTheTopology(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		stable := ordersAt(mesh, "v1")
		ordersAt(mesh, "v2")
		client := mesh.Node(link.Config{Routing: link.Routing{Topology: parse(t, canary)}})
		if got := tally(t, client, 2000); got["v2"] < 140 || got["v2"] > 260 {
			t.Errorf("answers %v, want about 200 of 2000 by v2", got)
		}
		if got := tally(t, client, 50, link.Meta("x-canary", "1")); got["v2"] != 50 {
			t.Errorf("answers %v to calls marked for the canary", got)
		}
		users := make(map[string]int)
		for i := range 200 {
			got := tally(t, client, 3, link.Meta("user", fmt.Sprint(i)))
			if len(got) != 1 {
				t.Errorf("user %d was answered by %v", i, got)
			}
			if got["v2"] > 0 {
				users["v2"]++
			}
		}
		if users["v2"] < 5 || users["v2"] > 45 {
			t.Errorf("%d of 200 users are on the canary, want about 20", users["v2"])
		}
		mesh.Stop(stable)
		sleep(time.Second)
		if got := tally(t, client, 50); got["v2"] != 50 {
			t.Errorf("answers %v with nobody in stable", got)
		}
	})
}

// TestFailoverGoesInOrder kills the instances of the failover levels one after the other.
func TestFailoverGoesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		near := ordersAt(mesh, "a-near", "v1", "zone=z1", "region=eu")
		region := ordersAt(mesh, "b-region", "v1", "zone=z2", "region=eu")
		far := ordersAt(mesh, "c-far", "v1", "zone=z3", "region=us")
		other := ordersAt(mesh, "d-other", "v2", "zone=z1", "region=eu")
		dr := serveCopies(mesh, "orders-dr", link.Config{Tags: []string{"e-dr"}}, keep)
		client := mesh.Node(link.Config{Tags: []string{"zone=z1", "region=eu"}, Routing: link.Routing{Topology: parse(t, `
version: link/v1
services:
  orders:
    subsets: { old: { tags: [v1] }, new: { tags: [v2] } }
    routes: [{ to: old }]
    failover: [zone, region, any, subset:new, service:orders-dr]
`)}})
		for _, step := range []struct {
			want string
			node *link.Node
		}{{"a-near", near}, {"b-region", region}, {"c-far", far}, {"d-other", other}, {"e-dr", dr}} {
			if got := tally(t, client, 30); got[step.want] != 30 {
				t.Errorf("answers %v, want all by %s", got, step.want)
			}
			mesh.Kill(step.node)
			// No idempotent call may fail because of it.
			if step.want != "e-dr" {
				tally(t, client, 3)
			}
		}
		if _, err := ask(t, client); !errors.Is(err, link.Unavailable) {
			t.Errorf("with nobody left: %v", err)
		}
	})
}

// TestSpillThatNobodyTakesStays kills half of a zone while the other levels have no instances.
func TestSpillThatNobodyTakesStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "a", "zone=z1")
		dead := ordersAt(mesh, "b", "zone=z1")
		client := mesh.Node(link.Config{Tags: []string{"zone=z1"}, Routing: link.Routing{Topology: parse(t, `
version: link/v1
services:
  orders: { subsets: { gone: { tags: [gone] } }, failover: [zone, subset:gone, service:orders-dr] }
`)}})
		warm(t, client)
		mesh.Kill(dead)
		sleep(10 * time.Second)
		if got := tally(t, client, 100); got["a"] != 100 {
			t.Errorf("answers %v, want all by a", got)
		}
	})
}

func TestAListOfFailoversIsNotExceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "far", "zone=z2")
		client := mesh.Node(link.Config{Tags: []string{"zone=z1"}, Routing: link.Routing{Topology: parse(t, `
version: link/v1
services: { orders: { failover: [zone] } }
`)}})
		_, err := ask(t, client)
		if !errors.Is(err, link.Unavailable) || !strings.Contains(err.Error(), "in this zone") || !strings.Contains(err.Error(), "Explain") {
			t.Errorf("error %v", err)
		}
	})
}

func TestWhatACallAsksFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "a", "v1", "zone=z1")
		b := ordersAt(mesh, "b", "v1", "zone=z2")
		ordersAt(mesh, "c", "v2", "zone=z2")
		client := mesh.Node(link.Config{Tags: []string{"zone=z1"}})
		// Wait until the client is connected to all of them.
		for len(tally(t, client, 20)) < 3 {
			sleep(time.Second)
		}
		for name, c := range map[string]struct {
			opts []link.CallOption
			want []string
			says string
		}{
			"anybody":              {nil, []string{"a", "b", "c"}, ""},
			"one tag":              {[]link.CallOption{link.OnTags("v1")}, []string{"a", "b"}, ""},
			"tags":                 {[]link.CallOption{link.OnTags("zone=z2", "v1")}, []string{"b"}, ""},
			"tags in two options":  {[]link.CallOption{link.OnTags("zone=z2"), link.OnTags("v2")}, []string{"c"}, ""},
			"no such tag":          {[]link.CallOption{link.OnTags("v3")}, nil, "tags v3"},
			"the zone":             {[]link.CallOption{link.InZone()}, []string{"a"}, ""},
			"the zone and tags":    {[]link.CallOption{link.InZone(), link.OnTags("v2")}, nil, `zone "z1"`},
			"one instance":         {[]link.CallOption{link.OnInstance(b.Instance())}, []string{"b"}, ""},
			"an unknown instance":  {[]link.CallOption{link.OnInstance("orders-x")}, nil, `instance "orders-x"`},
			"an empty sticky key":  {[]link.CallOption{link.Sticky("")}, []string{"a", "b", "c"}, ""},
			"a tag given for many": {[]link.CallOption{link.OnTags("v1", "v1")}, []string{"a", "b"}, ""},
		} {
			if c.want == nil {
				if _, err := ask(t, client, c.opts...); !errors.Is(err, link.Unavailable) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			got := tally(t, client, 60, c.opts...)
			for tag := range got {
				if !slices.Contains(c.want, tag) {
					t.Errorf("%s: answers %v, want only %v", name, got, c.want)
				}
			}
			if len(got) != len(c.want) {
				t.Errorf("%s: answers %v, want some by each of %v", name, got, c.want)
			}
		}
	})
}

func TestAStickyKeyMeansOneInstanceFromEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		for i := range 5 {
			ordersAt(mesh, fmt.Sprint("n", i))
		}
		a, b := mesh.Node(link.Config{}), mesh.Node(link.Config{})
		used := make(map[string]bool)
		for i := range 40 {
			key := link.Sticky(fmt.Sprint("user-", i))
			got, other := tally(t, a, 3, key), tally(t, b, 3, key)
			if len(got) != 1 || len(other) != 1 {
				t.Fatalf("key %d was answered by %v and %v", i, got, other)
			}
			for tag := range got {
				used[tag] = true
				if other[tag] == 0 {
					t.Errorf("key %d goes to %v from one node and to %v from another", i, got, other)
				}
			}
		}
		if len(used) != 5 {
			t.Errorf("40 keys are on %d instances of 5", len(used))
		}
	})
}

func TestAFileIsReadAgainAndABadOneChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "topology.yaml")
	write := func(to string) {
		text := "version: link/v1\nservices: { orders: { subsets: { a: { tags: [a] }, b: { tags: [b] } }, routes: [{ to: " + to + " }] } }\n"
		if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
		// The clock of the synctest bubble is not that of the file system.
		stamp := time.Now().Add(time.Duration(len(to)) * time.Hour)
		if err := os.Chtimes(path, stamp, stamp); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "a")
		ordersAt(mesh, "b")
		write("a")
		log := &logBuffer{}
		client := mesh.Node(link.Config{Routing: link.Routing{TopologyFile: path}, Logger: log.logger()})
		expect := func(want string) {
			t.Helper()
			if got := tally(t, client, 20); got[want] != 20 {
				t.Errorf("answers %v, want all by %s", got, want)
			}
		}
		expect("a")
		write("b ")
		sleep(2 * time.Second)
		expect("b")
		write("nobody")
		sleep(5 * time.Second)
		expect("b")
		if text := log.String(); strings.Count(text, "is invalid; the previous one stays in force") != 1 || !strings.Contains(text, `nobody`) || !strings.Contains(text, path+":2") {
			t.Errorf("log:\n%s", text)
		}
		status := client.Status().Topology
		if len(status) != 1 || status[0].Origin != path || status[0].Err == nil {
			t.Errorf("status %+v", status)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		sleep(2 * time.Second)
		expect("b")
		write("a")
		sleep(2 * time.Second)
		expect("a")
		if status := client.Status().Topology; status[0].Err != nil {
			t.Errorf("status %+v", status)
		}
	})
}

func TestAWrongTopologyIsAnErrorAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "topology.yaml")
	if err := os.WriteFile(path, []byte("version: link/v1\nservices: { orders: { routes: [{ to: canray }] } }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cfg  link.Config
		says string
	}{
		"a missing subset": {link.Config{Routing: link.Routing{TopologyFile: path}}, path + ":2"},
		"a missing file":   {link.Config{Routing: link.Routing{TopologyFile: path + "x"}}, path + "x"},
		"in code":          {link.Config{Routing: link.Routing{Topology: &topology.Document{Services: map[string]topology.Service{"orders": {Failover: []string{"moon"}}}}}}, "Config.Routing.Topology"},
		"faults": {link.Config{Routing: link.Routing{Topology: &topology.Document{Services: map[string]topology.Service{
			"orders": {Fault: &topology.Fault{Delay: time.Second, Percent: 1}},
		}}}}, "Config.Routing.AllowFaults"},
	} {
		if _, err := link.New(c.cfg); !errors.Is(err, link.InvalidArgument) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestACodedTopologyOverridesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "topology.yaml")
	if err := os.WriteFile(path, []byte("version: link/v1\nservices: { orders: { subsets: { a: { tags: [a] } }, routes: [{ to: a }] } }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "a")
		ordersAt(mesh, "b")
		variables := func(name string) (string, bool) { return path, name == "LINK_TOPOLOGY" }
		file := mesh.Node(link.Config{LookupEnv: variables})
		code := mesh.Node(link.Config{LookupEnv: variables, Routing: link.Routing{Topology: parse(t, "version: link/v1\nservices: { orders: { subsets: { b: { tags: [b] } }, routes: [{ to: b }] } }\n")}})
		if got := tally(t, file, 20); got["a"] != 20 {
			t.Errorf("by LINK_TOPOLOGY answers %v, want all by a", got)
		}
		if got := tally(t, code, 20); got["b"] != 20 {
			t.Errorf("by code answers %v, want all by b", got)
		}
	})
}

func TestAMirrorGetsCopiesAndChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "v1")
		var copies atomic.Int32
		serveCopies(mesh, "orders-shadow", link.Config{Tags: []string{"shadow"}}, func(_ context.Context, o order) (order, error) {
			if o.ID != "o" {
				t.Errorf("the copy is %+v", o)
			}
			copies.Add(1)
			return order{}, link.Errorf(link.Internal, "the shadow fails")
		})
		client := mesh.Node(link.Config{Routing: link.Routing{Topology: parse(t, `
version: link/v1
services: { orders: { mirror: { to: service:orders-shadow, percent: 50 } } }
`)}})
		// The pauses leave room for the copies.
		for range 100 {
			if got := tally(t, client, 1); got["v1"] != 1 {
				t.Fatalf("answers %v", got)
			}
			sleep(time.Millisecond)
		}
		sleep(time.Second)
		status := client.Status()
		if n := copies.Load(); n < 25 || n > 75 || status.Mirrored != uint64(n) || status.MirrorsDropped != 0 {
			t.Errorf("%d copies of 100 calls, %+v", n, status)
		}
	})
}

func TestAFullMirrorIsCountedAndDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "v1")
		serveCopies(mesh, "orders-shadow", link.Config{}, func(ctx context.Context, _ order) (order, error) {
			<-ctx.Done()
			return order{}, ctx.Err()
		})
		client := mesh.Node(link.Config{Routing: link.Routing{Topology: parse(t, `
version: link/v1
services: { orders: { mirror: { to: service:orders-shadow, percent: 100 } } }
`)}})
		start := time.Now()
		tally(t, client, 200)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("200 calls took %v beside a mirror that hangs", took)
		}
		if s := client.Status(); s.MirrorsDropped == 0 || s.Mirrored+s.MirrorsDropped != 200 {
			t.Errorf("status %+v", s)
		}
	})
}

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

// shared is the registry of the mesh as if others could write to it over the
// network. It delivers the documents of policy and lets change alter instances.
type shared struct {
	discovery.Registry

	policy chan discovery.PolicyDocument
	change func(*discovery.Instance)
	// origin is FromNetwork by default.
	origin discovery.Origin
}

func (s *shared) Watch(ctx context.Context, q discovery.Query) (<-chan discovery.Snapshot, error) {
	from, err := s.Registry.Watch(ctx, q)
	if err != nil {
		return nil, err
	}
	to := make(chan discovery.Snapshot, 1)
	go func() {
		defer close(to)
		for snapshot := range from {
			snapshot.Origin = s.origin
			snapshot.Instances = slices.Clone(snapshot.Instances)
			for i := range snapshot.Instances {
				if s.change != nil {
					s.change(&snapshot.Instances[i])
				}
			}
			select {
			case <-to:
			default:
			}
			to <- snapshot
		}
	}()
	return to, nil
}

func (s *shared) WatchPolicy(ctx context.Context, q discovery.Query) (<-chan discovery.PolicyDocument, error) {
	ch := make(chan discovery.PolicyDocument)
	go func() {
		defer close(ch)
		for {
			var p discovery.PolicyDocument
			if s.policy == nil || q.Service != "orders" {
				select {
				case ch <- p:
				case <-ctx.Done():
				}
				<-ctx.Done()
				return
			}
			select {
			case p = <-s.policy:
			case <-ctx.Done():
				return
			}
			select {
			case ch <- p:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ch, nil
}

func kv(text string) discovery.PolicyDocument {
	return discovery.PolicyDocument{Document: []byte(text), Origin: "KV link/topology/orders"}
}

func TestARegistrysTopologyIsFollowedAndBelievedOnlySoFar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "a")
		ordersAt(mesh, "b")
		serveCopies(mesh, "thief", link.Config{Tags: []string{"thief"}}, keep)
		registry := &shared{Registry: mesh.Registry(), policy: make(chan discovery.PolicyDocument, 1)}
		log := &logBuffer{}
		client := mesh.Node(link.Config{Registry: registry, Logger: log.logger()})
		registry.policy <- kv("version: link/v1\nservices: { orders: { subsets: { a: { tags: [a] } }, routes: [{ to: a }] } }\n")
		if got := tally(t, client, 20); got["a"] != 20 {
			t.Errorf("answers %v to the first calls, want all by a", got)
		}
		registry.policy <- kv("version: link/v1\nservices: { orders: { routes: [{ to: service:thief }] } }\n")
		sleep(time.Second)
		if got := tally(t, client, 20); got["a"] != 20 {
			t.Errorf("answers %v after a redirect that nobody here allowed", got)
		}
		if text := log.String(); !strings.Contains(text, "AllowRedirect") || !strings.Contains(text, "link/topology/orders") {
			t.Errorf("log:\n%s", text)
		}
		registry.policy <- kv("version: link/v1\nservices: { billing: {} }\n")
		sleep(time.Second)
		if !strings.Contains(log.String(), "about orders only") {
			t.Errorf("a document about another service was taken:\n%s", log)
		}
		registry.policy <- discovery.PolicyDocument{}
		sleep(time.Second)
		warm(t, client)
		if got := tally(t, client, 60); len(got) != 2 {
			t.Errorf("answers %v after the document was removed", got)
		}
	})
}

// TestATopologyThatCannotBeReadIsSaid starts with a document kept from an earlier run.
func TestATopologyThatCannotBeReadIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "a")
		ordersAt(mesh, "b")
		registry := &shared{Registry: mesh.Registry(), policy: make(chan discovery.PolicyDocument, 1)}
		log := &logBuffer{}
		client := mesh.Node(link.Config{Registry: registry, Logger: log.logger()})
		old := kv("version: link/v1\nservices: { orders: { subsets: { a: { tags: [a] } }, routes: [{ to: a }] } }\n")
		old.Stale, old.Reason = true, "no answer"
		registry.policy <- old
		start := time.Now()
		if got := tally(t, client, 20); got["a"] != 20 || time.Since(start) > time.Second {
			t.Errorf("answers %v after %v, want all by a", got, time.Since(start))
		}
		registry.policy <- discovery.PolicyDocument{Stale: true, Reason: "no answer", Origin: old.Origin}
		sleep(time.Second)
		if got := tally(t, client, 20); got["a"] != 20 {
			t.Errorf("answers %v when nothing is known any more, want all by a", got)
		}
		if s := client.Status().Topology; len(s) != 1 || s[0].Stale != "no answer" || s[0].Err != nil {
			t.Errorf("status %+v", s)
		}
		if n := strings.Count(log.String(), "topology cannot be read"); n != 1 {
			t.Errorf("%d log lines:\n%s", n, log)
		}
		old.Stale, old.Reason = false, ""
		registry.policy <- old
		sleep(time.Second)
		if s := client.Status().Topology; len(s) != 1 || s[0].Stale != "" {
			t.Errorf("status %+v", s)
		}
	})
}

func TestARedirectThatIsAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "a")
		serveCopies(mesh, "orders-new", link.Config{Tags: []string{"new"}}, keep)
		registry := &shared{Registry: mesh.Registry(), policy: make(chan discovery.PolicyDocument, 1)}
		client := mesh.Node(link.Config{Registry: registry, Routing: link.Routing{AllowRedirect: []string{"orders-new"}}})
		registry.policy <- kv("version: link/v1\nservices: { orders: { routes: [{ to: service:orders-new }] } }\n")
		if got := tally(t, client, 20); got["new"] != 20 {
			t.Errorf("answers %v, want all by the other service", got)
		}
	})
}

func TestAnIllRegistryDoesNotHoldCallsForItsTopology(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "a")
		log := &logBuffer{}
		client := mesh.Node(link.Config{Registry: &shared{Registry: mesh.Registry(), policy: make(chan discovery.PolicyDocument)}, Logger: log.logger()})
		start := time.Now()
		if _, err := ask(t, client); err != nil || time.Since(start) > 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if !strings.Contains(log.String(), "has not reported which topology") {
			t.Errorf("log:\n%s", log)
		}
	})
}

// TestTagsAreConfirmedByTheInstance has a registry list tags that the instance does not have.
func TestTagsAreConfirmedByTheInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "v1")
		log := &logBuffer{}
		debug := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		client := mesh.Node(link.Config{Logger: debug, Registry: &shared{
			Registry: mesh.Registry(),
			change:   func(in *discovery.Instance) { in.Tags = []string{"gold", "v2"} },
		}})
		if who, err := ask(t, client, link.OnTags("gold")); !errors.Is(err, link.Unavailable) {
			t.Errorf("a tag that its registry invented: %v answered, %v", who, err)
		}
		if _, err := ask(t, client, link.OnTags("v1")); err != nil {
			t.Errorf("the instance's own tag: %v", err)
		}
		if n := strings.Count(log.String(), "its own are used"); n != 1 {
			t.Errorf("%d log lines:\n%s", n, log)
		}
	})
}

// TestATagThatComesAndGoes checks that calls follow the tag of a monitor although the registry does not list it.
func TestATagThatComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var ready atomic.Bool
		serveCopies(mesh, "orders", link.Config{Monitors: map[string]func(context.Context) error{"db": func(context.Context) error {
			if ready.Load() {
				return nil
			}
			return errDown
		}}}, keep)
		client := mesh.Node(link.Config{Registry: &shared{
			Registry: mesh.Registry(),
			change:   func(in *discovery.Instance) { in.Tags = nil },
		}})
		if _, err := ask(t, client); err != nil {
			t.Fatal(err)
		}
		for _, up := range []bool{true, false, true} {
			ready.Store(up)
			sleep(4 * presence.ProbeInterval)
			if _, err := ask(t, client, link.OnTags("db")); (err == nil) != up {
				t.Errorf("the probe succeeds: %t; %v", up, err)
			}
		}
	})
}

// TestRogueRegistrationsCostATryEach registers a hundred instances at the address of another service beside one of orders.
func TestRogueRegistrationsCostATryEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		rogue := serveCopies(mesh, "mallory", link.Config{}, keep)
		honest := ordersAt(mesh, "v1")
		for i := range 100 {
			in := discovery.Instance{ID: fmt.Sprintf("orders-%03d", i), Service: "orders", Addr: rogue.Addr()}
			if _, err := mesh.Registry().Register(t.Context(), in); err != nil {
				t.Fatal(err)
			}
		}
		client := mesh.Node(link.Config{})
		for i := range 200 {
			who, err := ask(t, client)
			if err != nil || who.Instance != honest.Instance() {
				t.Fatalf("call %d: %v answered, %v", i, who, err)
			}
		}
	})
}

// TestSilentRoguesHideNobody registers a hundred addresses where nothing answers beside an honest instance.
func TestSilentRoguesHideNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		honest := ordersAt(mesh, "v1")
		for i := range 100 {
			in := discovery.Instance{ID: fmt.Sprintf("orders-%03d", i), Service: "orders", Addr: fmt.Sprintf("10.9.9.%d:7443", i+1)}
			if _, err := mesh.Registry().Register(t.Context(), in); err != nil {
				t.Fatal(err)
			}
		}
		client := mesh.Node(link.Config{})
		start := time.Now()
		if who, err := ask(t, client); err != nil || who.Instance != honest.Instance() {
			t.Fatalf("the first call: %v answered, %v, after %v", who, err, time.Since(start))
		}
		for i := range 300 {
			start := time.Now()
			who, err := ask(t, client)
			if took := time.Since(start); err != nil || who.Instance != honest.Instance() || took > time.Second {
				t.Fatalf("call %d: %v answered, %v, after %v", i, who, err, took)
			}
			sleep(100 * time.Millisecond)
		}
	})
}

func TestStatusCountsInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "v1")
		dead := ordersAt(mesh, "v2")
		client := mesh.Node(link.Config{})
		warm(t, client)
		s := client.Status()
		if len(s.Services) != 1 || s.Services[0].Service != "orders" || s.Services[0].Instances != 2 || s.Services[0].Serving != 2 ||
			s.Services[0].Connected != 2 || s.Services[0].Source != "static" || s.Services[0].Stale || s.Services[0].At.IsZero() {
			t.Errorf("status %+v", s)
		}
		if s.Serving || s.Instance != client.Instance() || !strings.Contains(s.Registry, "static") {
			t.Errorf("status %+v", s)
		}
		mesh.Kill(dead)
		sleep(10 * time.Second)
		tally(t, client, 50)
		if got := client.Status().Services[0]; got.Connected != 1 {
			t.Errorf("status %+v after one died", got)
		}
	})
}
