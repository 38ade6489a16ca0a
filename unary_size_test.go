//go:build !race

package link_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// The tests of this file do not run under the race detector: large messages and many names cost ten times as
// much there, and other tests show the same goroutines at work.

// TestACopyMayBeAsLargeAsItsCall checks that the MaxMessage option of a call also applies to its copy, and that a copy
// that cannot be sent is counted as dropped.
func TestACopyMayBeAsLargeAsItsCall(t *testing.T) {
	const large = 5 << 20
	put := func(service string) reqrep.Method[string, int] {
		return reqrep.NewMethod[string, int](service, "put", link.ReadOnly)
	}
	for name, tt := range map[string]struct {
		// limit is the Limits.MaxMessage of orders-shadow.
		limit            int
		copies           int32
		mirrored, missed uint64
	}{
		"as much as the service": {8 << 20, 1, 1, 0},
		"less":                   {1 << 20, 0, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				var copies atomic.Int32
				for service, limit := range map[string]int{"orders": 8 << 20, "orders-shadow": tt.limit} {
					srv := mesh.Node(link.Config{Service: service, Limits: link.Limits{MaxMessage: limit}})
					reqrep.Handle(srv, put(service), func(_ context.Context, s string) (int, error) {
						if service == "orders-shadow" {
							copies.Add(1)
						}
						return len(s), nil
					})
					mesh.Start(srv)
				}
				client := mesh.Node(link.Config{
					Routing: link.Routing{Topology: parse(t, "version: link/v1\nservices: { orders: { mirror: { to: service:orders-shadow, percent: 100 } } }\n")},
				})
				if _, err := reqrep.Call(t.Context(), client, put("orders"), strings.Repeat("x", large), link.MaxMessage(8<<20)); err != nil {
					t.Fatal(err)
				}
				sleep(time.Minute)
				if s := client.Status(); copies.Load() != tt.copies || s.Mirrored != tt.mirrored || s.MirrorsDropped != tt.missed {
					t.Errorf("%d copies arrived, counted as %d sent and %d dropped; want %d, %d and %d",
						copies.Load(), s.Mirrored, s.MirrorsDropped, tt.copies, tt.mirrored, tt.missed)
				}
			})
		})
	}
}

// TestAMessageMayHoldAsMuchAsItHasBytes sends as many values as a message has bytes, both ways.
func TestAMessageMayHoldAsMuchAsItHasBytes(t *testing.T) {
	for _, count := range []int{16_385, 4<<20 - 16} {
		synctest.Test(t, func(t *testing.T) {
			mesh := linktest.NewMesh(t)
			srv := mesh.Node(link.Config{Service: "orders"})
			numbers := reqrep.NewMethod[[]int, []int]("orders", "numbers", link.Unsafe)
			reqrep.Handle(srv, numbers, func(_ context.Context, list []int) ([]int, error) { return list, nil })
			mesh.Start(srv)
			if got, err := reqrep.Call(t.Context(), mesh.Node(link.Config{}), numbers, make([]int, count)); err != nil || len(got) != count {
				t.Errorf("%d numbers: got %d, %v", count, len(got), err)
			}
		})
	}
}

// TestAServerWithManyRoutesMakesErrorsCostLittle has a server answer Unimplemented that has thousands of routes with
// names like the called one, and expects the caller to search the names now and then, not for each reply.
func TestAServerWithManyRoutesMakesErrorsCostLittle(t *testing.T) { // SEC-128
	const routes, calls, most = 4200, 300, 64 << 10
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		srv := mesh.Node(link.Config{Service: "orders"})
		for i := range routes {
			reqrep.Handle(srv, reqrep.NewMethod[order, order]("orders", fmt.Sprintf("%s%04d", strings.Repeat("x", 60), i), link.ReadOnly), keep)
		}
		mesh.Start(srv)
		client := mesh.Node(link.Config{})
		wrong := reqrep.NewMethod[order, order]("orders", strings.Repeat("x", 60)+"12a4", link.ReadOnly)
		call := func(int) {
			_, err := reqrep.Call(t.Context(), client, wrong, order{})
			mustSay(t, err, link.Unimplemented, "the nearest names there are")
		}
		call(0)
		// The client must know the routes of the server.
		sleep(time.Second)
		if got := bytesFor(calls, call); got > most {
			t.Errorf("a reply that the route is not there makes the caller allocate %d bytes, want at most %d", got, most)
		}
		// other calls a new name each time, as if somebody else chose the names.
		other := func(i int) {
			_, err := reqrep.Call(t.Context(), client, reqrep.NewMethod[order, order]("orders", fmt.Sprintf("%s%03da", strings.Repeat("x", 60), i), link.ReadOnly), order{})
			mustSay(t, err, link.Unimplemented)
		}
		if got := bytesFor(calls, other); got > most {
			t.Errorf("the same for a new route each time: %d bytes, want at most %d", got, most)
		}
	})
}
