package link_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
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
