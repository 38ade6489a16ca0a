package link_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
)

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
