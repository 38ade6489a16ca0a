package link_test

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/internal/child"
	"github.com/linkmesh/link/protocol/reqrep"
	"github.com/linkmesh/link/security"
)

// serverRole makes the test binary a server at the address that addrVariable holds.
const (
	serverRole   = "server"
	addrVariable = "LINK_TEST_SERVE_AT"
)

// serveAgain serves getOrder until the process is killed. It reports on standard output when it is ready.
func serveAgain(addr string) error {
	registry, err := static.New()
	if err != nil {
		return err
	}
	node, err := link.New(link.Config{Service: "orders", Addr: addr, Registry: registry})
	if err != nil {
		return err
	}
	reqrep.Handle(node, getOrder, func(_ context.Context, q orderQuery) (order, error) { return order{ID: q.ID}, nil })
	go func() {
		<-node.Ready()
		child.Say("up")
	}()
	return node.Run(context.Background())
}

// startServer starts a server in a process of its own and returns when it serves.
func startServer(t *testing.T, addr string) *child.Process {
	t.Helper()
	p := child.Start(t, serverRole, addrVariable+"="+addr)
	t.Cleanup(func() {
		p.Kill()
		if said := p.Logged(); strings.Contains(said, "slow to notice a restart") {
			t.Errorf("the process has no secret for its stateless resets, and says %s", said)
		}
	})
	p.Says("up")
	return p
}

// freeAddr returns a loopback address where nothing listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().String()
}

// patientClient returns a client with a static list, whose calls wait longer than a process takes to start.
func patientClient(t *testing.T, cfg link.Config, instances ...discovery.Instance) *link.Node {
	t.Helper()
	registry, err := static.New(instances...)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Registry, cfg.Addr, cfg.Limits.CallTimeout = registry, "127.0.0.1:0", 2*time.Minute
	client, err := link.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

// TestARestartLosesNoReadOnlyCall kills the only server of a static list three times under load, and starts it again
// at its address. Calls wait while the new process starts.
func TestARestartLosesNoReadOnlyCall(t *testing.T) {
	t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
	t.Setenv("LINK_STATE_DIR", filepath.Join(t.TempDir(), "state"))
	addr := freeAddr(t)
	server := startServer(t, addr)
	client := patientClient(t, link.Config{Limits: link.Limits{DialTimeout: time.Minute}}, discovery.Instance{ID: "orders-1", Service: "orders", Addr: addr})
	const restarts = 3
	var done, round atomic.Int64
	// underWay counts the calls in flight by the round in which they began.
	var underWay [restarts + 1]atomic.Int64
	progress := make(chan struct{}, 1)
	l := startLoad(t, func(ctx context.Context) error {
		began := &underWay[round.Load()]
		began.Add(1)
		_, err := reqrep.Call(ctx, client, getOrder, orderQuery{ID: "o"})
		began.Add(-1)
		done.Add(1)
		select {
		case progress <- struct{}{}:
		default:
		}
		return err
	})
	await := func(calls int64) {
		for target := done.Load() + calls; done.Load() < target; {
			<-progress
		}
	}
	for range restarts {
		// These calls also earn the retries of the calls that are in flight when the server dies.
		await(200)
		server.Kill()
		server = startServer(t, addr)
		up := time.Now()
		await(int64(2 * callers))
		// A call has three attempts, so none may meet two restarts.
		for before := round.Add(1) - 1; underWay[before].Load() > 0; {
			<-progress
		}
		t.Logf("%v from the new process to the first calls; the longest call took %v", time.Since(up).Round(time.Millisecond), l.longest().Round(time.Millisecond))
	}
	l.end()
	for _, err := range l.errs {
		t.Errorf("a call that changes nothing failed: %v", err)
	}
}

// longest returns the time of the longest call so far.
func (l *load) longest() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.worst
}
