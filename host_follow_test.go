package link_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/linktest"
)

// firstTags reads the newest list and returns the first tag of each instance.
func firstTags(t *testing.T, ch <-chan []discovery.Instance) string {
	t.Helper()
	sleep(time.Second)
	tags := ""
	for _, in := range <-ch {
		tags += in.Tags[0]
	}
	return tags
}

func TestFollowSeesWhatTheTopologyLetsThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		a := ordersAt(mesh, "a", "eu")
		ordersAt(mesh, "b", "us")
		client := mesh.Node(link.Config{Routing: link.Routing{Topology: parse(t, `
version: link/v1
services:
  orders:
    subsets: { eu: { tags: [eu] } }
    routes: [{ match: { topic: "placed*" }, to: eu }]
    failover: [any]
`)}})
		ctx, cancel := context.WithCancel(t.Context())
		placed, err := link.HostOf(client).Follow(ctx, link.Route{Service: "orders", Name: "placed.eu", Kind: link.KindTopic})
		if err != nil {
			t.Fatal(err)
		}
		all, err := link.HostOf(client).Follow(ctx, link.Route{Service: "orders", Name: "shipped", Kind: link.KindTopic})
		if err != nil {
			t.Fatal(err)
		}
		tagged, err := link.HostOf(client).Follow(ctx, link.Route{Service: "orders", Name: "shipped", Kind: link.KindTopic}, link.OnTags("us"))
		if err != nil {
			t.Fatal(err)
		}
		if got := firstTags(t, placed); got != "a" {
			t.Errorf("placed may reach %q, want a", got)
		}
		if got := firstTags(t, all); len(got) != 2 {
			t.Errorf("shipped may reach %q, want both", got)
		}
		if got := firstTags(t, tagged); got != "b" {
			t.Errorf("with OnTags it may reach %q, want b", got)
		}
		ordersAt(mesh, "c", "eu")
		if got := firstTags(t, placed); len(got) != 2 {
			t.Errorf("placed may reach %q after c came, want a and c", got)
		}
		mesh.Stop(a)
		if got := firstTags(t, placed); got != "c" {
			t.Errorf("placed may reach %q after a left, want c", got)
		}
		cancel()
		sleep(time.Second)
		if list, open := <-placed; open {
			t.Errorf("after the end of the context: %v", list)
		}
	})
}

func TestFollowEndsWithTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		client := mesh.Node(link.Config{})
		ch, err := link.HostOf(client).Follow(t.Context(), link.Route{Service: "orders", Name: "placed", Kind: link.KindTopic})
		if err != nil {
			t.Fatal(err)
		}
		if list := <-ch; len(list) != 0 {
			t.Errorf("nobody is there, but it may reach %v", list)
		}
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		if list, open := <-ch; open {
			t.Errorf("after Close: %v", list)
		}
		if _, err := link.HostOf(client).Follow(t.Context(), link.Route{Service: "orders", Name: "placed"}); !errors.Is(err, link.Unavailable) {
			t.Errorf("on a closed node: %v", err)
		}
	})
}

func TestAnExtensionIsMadeOncePerNode(t *testing.T) {
	type key struct{}
	mesh := linktest.NewMesh(t)
	a, b := mesh.Node(link.Config{}), mesh.Node(link.Config{})
	var wg sync.WaitGroup
	seen := make(chan any, 100)
	for range 100 {
		wg.Go(func() { seen <- link.HostOf(a).Extension(key{}, func() any { return new(int) }) })
	}
	wg.Wait()
	first := <-seen
	for range 99 {
		if v := <-seen; v != first {
			t.Fatal("two values under one key")
		}
	}
	if link.HostOf(b).Extension(key{}, func() any { return new(int) }) == first {
		t.Error("two nodes share a value")
	}
}

// TestTagsThatCannotBeAreRefused checks that a pattern learns of a tag that no instance can have, as a call does, instead
// of waiting for one.
func TestTagsThatCannotBeAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := link.HostOf(linktest.NewMesh(t).Node(link.Config{}))
		route, option := link.Route{Service: "orders", Name: "get"}, link.OnTags("no tag")
		if _, err := host.Follow(t.Context(), route, option); !errors.Is(err, link.InvalidArgument) {
			t.Errorf("Follow: %v, want invalid argument", err)
		}
		if err := host.Unserved(route, option); !errors.Is(err, link.InvalidArgument) {
			t.Errorf("Unserved: %v, want invalid argument", err)
		}
	})
}
