package link_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// TestATopologyOfARegistryRunsNothingTwice has a registry ask for copies of every call, and expects copies of
// read-only calls only.
func TestATopologyOfARegistryRunsNothingTwice(t *testing.T) { // SEC-355
	change := reqrep.NewMethod[int, int]("orders", "change", link.Unsafe)
	again := reqrep.NewMethod[int, int]("orders", "again", link.Idempotent)
	read := reqrep.NewMethod[int, int]("orders", "read", link.ReadOnly)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var changes, repeats, reads atomic.Int32
		srv := mesh.Node(link.Config{Service: "orders"})
		count := func(n *atomic.Int32) func(context.Context, int) (int, error) {
			return func(context.Context, int) (int, error) { n.Add(1); return 0, nil }
		}
		reqrep.Handle(srv, change, count(&changes))
		reqrep.Handle(srv, again, count(&repeats))
		reqrep.Handle(srv, read, count(&reads))
		mesh.Start(srv)
		registry := &shared{Registry: mesh.Registry(), policy: make(chan discovery.PolicyDocument, 1)}
		var log logBuffer
		client := mesh.Node(link.Config{Registry: registry, Logger: log.logger()})
		registry.policy <- kv("version: link/v1\nservices: { orders: { mirror: { percent: 100 }, timeout: 1ms } }\n")
		for range 20 {
			for _, m := range []reqrep.Method[int, int]{change, again, read} {
				if _, err := reqrep.Call(t.Context(), client, m, 1); err != nil {
					t.Fatal(err)
				}
				<-time.After(time.Millisecond)
			}
		}
		<-time.After(time.Second)
		if changes.Load() != 20 || repeats.Load() != 20 || reads.Load() != 40 {
			t.Errorf("20 calls each ran %d, %d and %d times; want 20, 20 and 40", changes.Load(), repeats.Load(), reads.Load())
		}
		for _, want := range []string{"services.orders.mirror: copies only calls of read-only methods", "services.orders.timeout: is 1ms, and 100ms holds"} {
			if n := strings.Count(log.String(), want); n != 1 {
				t.Errorf("the log says %d times %q, want once:\n%s", n, want, log.String())
			}
		}
	})
}
