package integration

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"testing"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/integration/internal/agent"
	"github.com/linkmesh/link/integration/internal/proxy"
)

// TestAThousandWatchesLeaveNothingBehind starts and cancels them, and then closes the registry. It
// counts the goroutines of the process, so it runs alone.
//
//nolint:paralleltest // see above
func TestAThousandWatchesLeaveNothingBehind(t *testing.T) {
	const watches, services = 1000, 100
	a := agent.Start(t, agent.Config{})
	p := proxy.Start(t, a.URL())
	m := newMesh(t)
	r := m.registry(p.Address())
	before := runtime.NumGoroutine()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var open []<-chan discovery.Snapshot
	for i := range watches {
		ch, err := r.Watch(ctx, discovery.Query{Service: "service-" + strconv.Itoa(i%services)})
		if err != nil {
			t.Fatalf("watch %d: %v", i, err)
		}
		open = append(open, ch)
	}
	for i, ch := range open {
		if _, ok := <-ch; !ok {
			t.Fatalf("watch %d ended", i)
		}
	}
	if _, peak := p.Connections(); peak > connectionLimit {
		t.Errorf("%d connections at once, want at most %d", peak, connectionLimit)
	}
	cancel()
	for _, ch := range open {
		for range ch {
		}
	}
	// Idle connections may stay for the next watch, with two goroutines at each end.
	eventually(t, "the end of what the watches started", within, func() error {
		conns, _ := p.Connections()
		if n := runtime.NumGoroutine(); n > before+8*conns+10 {
			return fmt.Errorf("%d goroutines, %d before, %d connections", n, before, conns)
		}
		return nil
	})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of all connections", within, func() error {
		if conns, _ := p.Connections(); conns > 0 {
			return fmt.Errorf("%d are open", conns)
		}
		return nil
	})
}

// connectionLimit is what one process may hold of the 200 connections that an agent allows the
// processes of one host: its blocking watches, and some for all else.
const connectionLimit = maxBlocking + 16
