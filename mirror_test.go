package link_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
)

// TestCopiesHaveNoPartInTheRetriesOfCalls checks that copies neither use up nor earn retries, even if they fail.
func TestCopiesHaveNoPartInTheRetriesOfCalls(t *testing.T) {
	// earned is 2 % of the calls. The budget holds 10 more retries from the start.
	const calls, earned = 3000, 60
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var failing atomic.Bool
		var seen, copies atomic.Int32
		serveCopies(mesh, "orders", link.Config{}, func(_ context.Context, o order) (order, error) {
			if seen.Add(1); failing.Load() {
				return o, link.Errorf(link.Unavailable, "a bad time")
			}
			return o, nil
		})
		serveCopies(mesh, "orders-shadow", link.Config{}, func(context.Context, order) (order, error) {
			copies.Add(1)
			return order{}, link.Errorf(link.Unavailable, "the shadow fails")
		})
		client := mesh.Node(link.Config{Routing: link.Routing{Topology: parse(t, `
version: link/v1
services: { orders: { retry: { budget: 2% }, mirror: { to: service:orders-shadow, percent: 100 } } }
`)}})
		for range calls {
			if _, err := ask(t, client); err != nil {
				t.Fatal(err)
			}
			// Let the copy end, which makes room for the next one.
			synctest.Wait()
		}
		if n := copies.Load(); n != calls {
			t.Errorf("%d calls made %d copies", calls, n)
		}
		failing.Store(true)
		seen.Store(0)
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() { _, _ = ask(t, client) })
		}
		group.Wait()
		if again := seen.Load() - 100; again < 30 || again > earned+25 {
			t.Errorf("100 calls that failed were sent again %d times; %d calls earned %d, and their copies nothing", again, calls, earned)
		}
	})
}
