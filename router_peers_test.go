package link_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/linktest"
)

// listed returns a client that knows the nodes from a list in the format of LINK_PEERS.
// The values of nodes are the tags to append to their addresses; "" means none.
func listed(t *testing.T, mesh *linktest.Mesh, cfg link.Config, nodes map[*link.Node]string) *link.Node {
	t.Helper()
	var places []string
	for node, tags := range nodes {
		places = append(places, node.Addr()+tags)
	}
	peers, err := static.Parse("orders=" + strings.Join(places, ","))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Registry, err = static.New(peers...); err != nil {
		t.Fatal(err)
	}
	return mesh.Node(cfg)
}

func TestAListWithoutTagsAndATopologyWorkTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		nodes := map[*link.Node]string{}
		for _, tag := range []string{"v1", "v1", "v1", "v2"} {
			nodes[ordersAt(mesh, tag)] = ""
		}
		client := listed(t, mesh, link.Config{Routing: link.Routing{Topology: parse(t, canary)}}, nodes)
		for range 20 {
			who, err := ask(t, client, link.Meta("x-canary", "1"))
			if err != nil {
				t.Fatal(err)
			}
			if who.Tags[0] != "v2" {
				t.Errorf("a call for the canary went to %s", who.Tags)
			}
		}
		if got := tally(t, client, 200); got["v2"] == 0 || got["v2"] > 60 || got["v1"]+got["v2"] != 200 {
			t.Errorf("90:10 became %v", got)
		}
		if who, err := ask(t, client, link.OnTags("v1")); err != nil || who.Tags[0] != "v1" {
			t.Errorf("for v1: %v, %v", who, err)
		}
		if who, err := ask(t, client, link.OnTags("v9")); !errors.Is(err, link.Unavailable) {
			t.Errorf("for tags that nobody has: %v answered, %v", who, err)
		}
	})
}

// TestTagsInAListAreBelieved checks that tags of the list take precedence over those of the instance.
func TestTagsInAListAreBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		one, two := ordersAt(mesh, "v1"), ordersAt(mesh, "v2")
		client := listed(t, mesh, link.Config{}, map[*link.Node]string{one: "[gold,zone=a]", two: "[silver]"})
		for range 5 {
			if who, err := ask(t, client, link.OnTags("gold")); err != nil || who.Instance != one.Instance() {
				t.Errorf("for gold: %v, %v", who, err)
			}
		}
		if who, err := ask(t, client, link.OnTags("v1")); !errors.Is(err, link.Unavailable) {
			t.Errorf("for a tag that the list does not give: %v answered, %v", who, err)
		}
	})
}

// TestTagsThatWereLearnedAreAskedForAgain changes the tags of an instance that the client has
// no connection to, as a new process at its address would, and expects the client to find it.
func TestTagsThatWereLearnedAreAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := ordersAt(mesh)
		if err := link.HostOf(node).AddTag("v1"); err != nil {
			t.Fatal(err)
		}
		client := listed(t, mesh, link.Config{}, map[*link.Node]string{node: ""})
		if _, err := ask(t, client, link.OnTags("v1")); err != nil {
			t.Fatal(err)
		}
		// The connection is closed because it is unused.
		sleep(time.Hour)
		link.HostOf(node).RemoveTag("v1")
		if err := link.HostOf(node).AddTag("v2"); err != nil {
			t.Fatal(err)
		}
		sleep(time.Minute)
		if _, err := ask(t, client, link.OnTags("v2")); err != nil {
			t.Errorf("for its new tag: %v", err)
		}
		if who, err := ask(t, client, link.OnTags("v1")); !errors.Is(err, link.Unavailable) {
			t.Errorf("for its old tag: %v answered, %v", who, err)
		}
	})
}

// TestFollowAsksForTagsFirst checks that Follow lists no instance whose tags are not known yet.
func TestFollowAsksForTagsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		one, two, three := ordersAt(mesh, "v1"), ordersAt(mesh, "v2"), ordersAt(mesh, "v2")
		nodes := map[*link.Node]string{one: "", two: "", three: ""}
		client := listed(t, mesh, link.Config{}, nodes)
		mesh.Partition(client, three)
		lists, err := link.HostOf(client).Follow(t.Context(), readOrder.Route(), link.OnTags("v2"))
		if err != nil {
			t.Fatal(err)
		}
		next := func() (all []string) {
			select {
			case list := <-lists:
				for _, in := range list {
					all = append(all, in.Addr)
				}
			case <-time.After(time.Minute):
				t.Error("no list comes")
			}
			slices.Sort(all)
			return all
		}
		if got := next(); !slices.Equal(got, []string{two.Addr()}) {
			t.Errorf("first %q, want %s", got, two.Addr())
		}
		mesh.Heal(client, three)
		want := []string{two.Addr(), three.Addr()}
		slices.Sort(want)
		if got := next(); !slices.Equal(got, want) {
			t.Errorf("then %q, want %q", got, want)
		}
	})
}

func TestASubsetThatNobodyOfAListCanBeInIsSaid(t *testing.T) {
	for name, c := range map[string]struct {
		// tags are the tags in the list.
		tags string
		said int
	}{
		"tags in the list":     {"[v1]", 1},
		"tags that are asked":  {"", 1},
		"tags of both subsets": {"[v1,v2]", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				log := &logBuffer{}
				client := listed(t, mesh, link.Config{Routing: link.Routing{Topology: parse(t, canary)}, Logger: log.logger()}, map[*link.Node]string{ordersAt(mesh, "v1"): c.tags})
				for range 5 {
					if _, err := ask(t, client); err != nil {
						t.Fatal(err)
					}
				}
				if n := strings.Count(log.String(), "subset=canary tags=[v2]"); n != c.said {
					t.Errorf("said %d times, want %d:\n%s", n, c.said, log)
				}
				if strings.Contains(log.String(), "subset=stable") {
					t.Errorf("a subset with an instance is named:\n%s", log)
				}
			})
		})
	}
}

func TestExplainSaysThatTagsAreNotKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		one, two := ordersAt(mesh, "v1"), ordersAt(mesh, "v2")
		client := listed(t, mesh, link.Config{Routing: link.Routing{Topology: parse(t, canary)}}, map[*link.Node]string{one: "", two: ""})
		explain := func() string {
			e, err := client.Explain(t.Context(), readOrder.Route())
			if err != nil {
				t.Fatal(err)
			}
			return e.String()
		}
		if got := explain(); strings.Count(got, "its tags are not known until it is") != 2 {
			t.Errorf("before a call:\n%s", got)
		}
		for _, tag := range []string{"v1", "v2"} {
			if _, err := ask(t, client, link.OnTags(tag)); err != nil {
				t.Fatal(err)
			}
		}
		if got := explain(); strings.Contains(got, "not known") {
			t.Errorf("after calls to both:\n%s", got)
		}
	})
}
