package link_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/protocol/reqrep"
	"github.com/linkmesh/link/security"
)

// restartedChild makes the test binary a server at the address that it holds.
const restartedChild = "LINK_TEST_SERVE_AGAIN"

// serveAgain serves getOrder until the process is killed. It says on standard output when it is up.
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
		_, _ = fmt.Fprintln(os.Stdout, "up") // the parent sees that
	}()
	return node.Run(context.Background())
}

// startAgain starts a server in a process of its own and returns when it serves. The function that it returns
// kills it.
func startAgain(t *testing.T, addr string) (kill func()) {
	t.Helper()
	_, kill = startProcess(t, addr)
	return kill
}

func startProcess(t *testing.T, addr string) (process *os.Process, kill func()) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), exe)
	cmd.Env = append(os.Environ(), restartedChild+"="+addr)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	cmd.Stderr = &logged
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	kill = func() {
		once.Do(func() {
			_ = cmd.Process.Kill() // fails if it ended by itself, which Wait tells
			_ = cmd.Wait()         // killed
			if strings.Contains(logged.String(), "noticed late") {
				t.Errorf("the process has no secret for its stateless resets, and says %s", &logged)
			}
		})
	}
	t.Cleanup(kill)
	if line := bufio.NewScanner(out); !line.Scan() || line.Text() != "up" {
		t.Fatalf("the server said %q, want that it is up", line.Text())
	}
	return cmd.Process, kill
}

// freeAddr returns an address of this host where nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().String()
}

// patientClient is a client of a fixed list, whose calls wait for longer than a process takes to start.
func patientClient(t *testing.T, limits link.Limits, instances ...discovery.Instance) *link.Node {
	t.Helper()
	registry, err := static.New(instances...)
	if err != nil {
		t.Fatal(err)
	}
	client, err := link.New(link.Config{Registry: registry, Addr: "127.0.0.1:0", CallTimeout: 2 * time.Minute, Limits: limits})
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

// TestARestartLosesNoReadOnlyCall kills the only server of a fixed list three times while callers call, and starts it
// again at its address. What is between is the time that a process takes to start: calls wait for it.
func TestARestartLosesNoReadOnlyCall(t *testing.T) {
	t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
	t.Setenv("LINK_STATE_DIR", filepath.Join(t.TempDir(), "state"))
	addr := freeAddr(t)
	kill := startAgain(t, addr)
	client := patientClient(t, link.Limits{DialTimeout: time.Minute}, discovery.Instance{ID: "orders-1", Service: "orders", Addr: addr})
	const restarts = 3
	var done, round atomic.Int64
	var underWay [restarts + 1]atomic.Int64 // by the round in which they began
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
		await(200) // which also earn the retries of those that are in flight when it dies
		kill()
		kill = startAgain(t, addr)
		up := time.Now()
		await(int64(2 * callers))
		for before := round.Add(1) - 1; underWay[before].Load() > 0; {
			<-progress // a call has three attempts: none shall meet two restarts
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
