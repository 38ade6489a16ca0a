package link_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// putOrder must not run twice.
var putOrder = reqrep.NewMethod[order, order]("orders", "put", link.Unsafe)

type orderHandler = func(ctx context.Context, o order) (order, error)

// orders starts a node that serves putOrder.
func orders(mesh *linktest.Mesh, cfg link.Config, h orderHandler) *link.Node {
	cfg.Service = "orders"
	node := mesh.Node(cfg)
	reqrep.Handle(node, putOrder, h)
	mesh.Start(node)
	return node
}

func keep(_ context.Context, o order) (order, error) { return o, nil }

// TestDrainUnderLoadLosesNoCall replaces two servers, one after the other, under
// a load of unsafe calls, and expects each call to run exactly once.
func TestDrainUnderLoadLosesNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(5*time.Millisecond))
		var runs atomic.Int32
		work := func(_ context.Context, o order) (order, error) {
			sleep(20 * time.Millisecond)
			runs.Add(1)
			return o, nil
		}
		a, b := orders(mesh, link.Config{}, work), orders(mesh, link.Config{}, work)
		var calls atomic.Int32
		var done atomic.Bool
		var wg sync.WaitGroup
		for range 4 {
			client := mesh.Node(link.Config{})
			for range 8 {
				wg.Go(func() {
					for !done.Load() {
						calls.Add(1)
						if _, err := reqrep.Call(t.Context(), client, putOrder, order{ID: "o"}); err != nil {
							t.Errorf("during the drain: %v", err)
						}
					}
				})
			}
		}
		sleep(time.Second)
		mesh.Stop(a)
		orders(mesh, link.Config{}, work)
		sleep(time.Second)
		mesh.Stop(b)
		sleep(time.Second)
		done.Store(true)
		wg.Wait()
		if calls.Load() != runs.Load() || calls.Load() < 1000 {
			t.Errorf("%d calls ran %d times", calls.Load(), runs.Load())
		}
	})
}

// TestDrainIsHeardWithoutTheRegistry drains a server of a client whose registry is
// a static list.
func TestDrainIsHeardWithoutTheRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(5*time.Millisecond))
		var runs atomic.Int32
		work := func(_ context.Context, o order) (order, error) {
			sleep(20 * time.Millisecond)
			runs.Add(1)
			return o, nil
		}
		a, b := orders(mesh, link.Config{}, work), orders(mesh, link.Config{}, work)
		registry, err := static.New(
			discovery.Instance{ID: a.Instance(), Service: "orders", Addr: a.Addr()},
			discovery.Instance{ID: b.Instance(), Service: "orders", Addr: b.Addr()})
		if err != nil {
			t.Fatal(err)
		}
		client := mesh.Node(link.Config{Registry: registry})
		var calls atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for begin := time.Now(); time.Since(begin) < 20*time.Second; {
					calls.Add(1)
					if took, err := callWithin(t, client, 10*time.Second); err != nil || took > time.Second {
						t.Errorf("during the drain: %v after %v", err, took)
					}
				}
			})
		}
		sleep(time.Second)
		mesh.Stop(a)
		wg.Wait()
		if calls.Load() != runs.Load() {
			t.Errorf("%d calls ran %d times", calls.Load(), runs.Load())
		}
	})
}

func TestDrainWaitsForWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		srv := orders(mesh, link.Config{}, func(_ context.Context, o order) (order, error) {
			sleep(10 * time.Second)
			return o, nil
		})
		client := mesh.Node(link.Config{Limits: link.Limits{CallTimeout: time.Minute}})
		running := make(chan error, 1)
		go func() {
			_, err := reqrep.Call(t.Context(), client, putOrder, order{})
			running <- err
		}()
		sleep(time.Second)
		begin := time.Now()
		stopped := make(chan struct{})
		go func() { mesh.Stop(srv); close(stopped) }()
		sleep(time.Second)
		if _, err := reqrep.Call(t.Context(), client, putOrder, order{}); !errors.Is(err, link.Unavailable) || !strings.Contains(err.Error(), "drain") {
			t.Errorf("a new call during the drain: %v, want unavailable", err)
		}
		if err := <-running; err != nil {
			t.Errorf("the call that ran: %v", err)
		}
		<-stopped
		if took := time.Since(begin); took < 9*time.Second || took > 10*time.Second+500*time.Millisecond {
			t.Errorf("the drain took %v, want until the call ended", took)
		}
	})
}

func TestDrainEndsAtItsGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		cause := make(chan error, 1)
		node := mesh.Node(link.Config{Service: "orders", Limits: link.Limits{DrainTimeout: 5 * time.Second}})
		reqrep.Handle(node, putOrder, func(ctx context.Context, o order) (order, error) {
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return o, ctx.Err()
		})
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- node.Run(ctx) }()
		<-node.Ready()
		client := mesh.Node(link.Config{Limits: link.Limits{CallTimeout: time.Minute}})
		called := make(chan error, 1)
		go func() {
			_, err := reqrep.Call(t.Context(), client, putOrder, order{})
			called <- err
		}()
		sleep(time.Second)
		begin := time.Now()
		cancel()
		if err := <-cause; !errors.Is(err, link.ErrDraining) {
			t.Errorf("the handler's context ended with %v, want ErrDraining", err)
		}
		if took := time.Since(begin); took != 5*time.Second {
			t.Errorf("the handler was canceled after %v, want the grace of 5s", took)
		}
		if err := <-called; !errors.Is(err, link.Unavailable) {
			t.Errorf("the call: %v, want unavailable", err)
		}
		if err := <-ran; !errors.Is(err, link.DeadlineExceeded) || !strings.Contains(err.Error(), "handlers still ran") {
			t.Errorf("Run: %v, want deadline exceeded", err)
		}
	})
}

// TestDrainWithoutCallsIsQuick drains idle servers, with and without clients.
func TestDrainWithoutCallsIsQuick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		for clients := range 3 {
			srv := orders(mesh, link.Config{}, keep)
			synctest.Wait()
			for range clients {
				if _, err := reqrep.Call(t.Context(), mesh.Node(link.Config{}), putOrder, order{}); err != nil {
					t.Error(err)
				}
			}
			begin := time.Now()
			mesh.Stop(srv)
			if took := time.Since(begin); took > 500*time.Millisecond {
				t.Errorf("with %d idle clients the drain took %v", clients, took)
			}
		}
	})
}

func TestShutdownAndCloseAreIdempotent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		started := func() *link.Node { return orders(mesh, link.Config{}, keep) }
		fresh := func() *link.Node { return mesh.Node(link.Config{Service: "orders"}) }
		used := func() *link.Node {
			orders(mesh, link.Config{}, keep)
			client := mesh.Node(link.Config{})
			if _, err := reqrep.Call(t.Context(), client, putOrder, order{}); err != nil {
				t.Error(err)
			}
			return client
		}
		for name, create := range map[string]func() *link.Node{"started": started, "fresh": fresh, "client": used} {
			shutdown := func(n *link.Node) error { return n.Shutdown(t.Context()) }
			for _, first := range []func(*link.Node) error{shutdown, (*link.Node).Close} {
				node := create()
				var wg sync.WaitGroup
				for range 3 {
					wg.Go(func() {
						if err := first(node); err != nil {
							t.Errorf("%s, at once: %v", name, err)
						}
					})
				}
				wg.Wait()
				if err := errors.Join(node.Shutdown(t.Context()), node.Close()); err != nil {
					t.Errorf("%s, again: %v", name, err)
				}
				if _, err := reqrep.Call(t.Context(), node, putOrder, order{}); !errors.Is(err, link.Unavailable) || !strings.Contains(err.Error(), "the node is closed") {
					t.Errorf("%s: a call of a closed node: %v, want unavailable", name, err)
				}
				if err := node.Run(t.Context()); !errors.Is(err, link.FailedPrecondition) {
					t.Errorf("%s: Run of a closed node: %v, want failed precondition", name, err)
				}
			}
		}
	})
}

func TestNodeRunsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		srv := orders(mesh, link.Config{}, keep)
		if err := srv.Run(t.Context()); !errors.Is(err, link.FailedPrecondition) {
			t.Errorf("the second Run: %v, want failed precondition", err)
		}
		if _, err := reqrep.Call(t.Context(), mesh.Node(link.Config{}), putOrder, order{}); err != nil {
			t.Errorf("a call after the second Run: %v", err)
		}
	})
}

// TestRunOfAClientIsRefusedAndChangesNothing runs a client before its first call and after it.
func TestRunOfAClientIsRefusedAndChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		orders(mesh, link.Config{}, keep)
		client := mesh.Node(link.Config{})
		for range 2 {
			err := client.Run(t.Context())
			if !errors.Is(err, link.FailedPrecondition) || !strings.Contains(err.Error(), "set Config.Service to serve") || !strings.Contains(err.Error(), "without Run") {
				t.Errorf("Run of a client: %v, want failed precondition that says what to do", err)
			}
			if _, err := reqrep.Call(t.Context(), client, putOrder, order{}); err != nil {
				t.Errorf("a call after it: %v", err)
			}
		}
	})
}

func TestClientNeverRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		srv := orders(mesh, link.Config{Tags: []string{"v2"}}, keep)
		client := mesh.Node(link.Config{Service: "gateway"})
		if _, err := reqrep.Call(t.Context(), client, putOrder, order{}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-client.Ready():
			t.Error("a client is ready to serve")
		default:
		}
		if client.Addr() != "" {
			t.Errorf("a client announces %q", client.Addr())
		}
		if found, err := client.Instances(t.Context(), "gateway"); err != nil || len(found) != 0 {
			t.Errorf("the client is registered: %v, %v", found, err)
		}
		found, err := client.Instances(t.Context(), "orders")
		if err != nil || len(found) != 1 || found[0].ID != srv.Instance() || found[0].Addr != srv.Addr() || len(found[0].Tags) != 1 {
			t.Errorf("instances of orders: %+v, %v", found, err)
		}
	})
}

func TestCloseDuringCalls(t *testing.T) {
	for name, pick := range map[string]func(srv, client *link.Node) *link.Node{
		"of the server": func(srv, _ *link.Node) *link.Node { return srv },
		"of the caller": func(_, client *link.Node) *link.Node { return client },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				srv := orders(mesh, link.Config{}, func(ctx context.Context, o order) (order, error) { <-ctx.Done(); return o, ctx.Err() })
				client := mesh.Node(link.Config{})
				errs := make(chan error, 50)
				for range cap(errs) {
					go func() {
						_, err := reqrep.Call(t.Context(), client, putOrder, order{})
						errs <- err
					}()
				}
				sleep(time.Second)
				begin := time.Now()
				if err := pick(srv, client).Close(); err != nil {
					t.Error(err)
				}
				for range cap(errs) {
					if err := <-errs; !errors.Is(err, link.Unavailable) {
						t.Errorf("got %v, want unavailable", err)
					}
				}
				if took := time.Since(begin); took > 100*time.Millisecond {
					t.Errorf("the calls ended %v after Close", took)
				}
			})
		})
	}
}

// TestDrainLeavesAHandlerThatIgnoresItBehind checks that a handler that ignores its
// context does not keep Run from returning.
func TestDrainLeavesAHandlerThatIgnoresItBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		release, entered := make(chan struct{}), make(chan struct{})
		node := mesh.Node(link.Config{Service: "orders", Limits: link.Limits{DrainTimeout: time.Second}})
		reqrep.Handle(node, putOrder, func(_ context.Context, o order) (order, error) {
			close(entered)
			<-release
			return o, nil
		})
		ctx, stop := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- node.Run(ctx) }()
		<-node.Ready()
		client := mesh.Node(link.Config{})
		answered := make(chan error, 1)
		go func() {
			_, err := reqrep.Call(t.Context(), client, putOrder, order{})
			answered <- err
		}()
		<-entered
		begin := time.Now()
		stop()
		err := <-ran
		if took := time.Since(begin); !errors.Is(err, link.DeadlineExceeded) || took > 10*time.Second {
			t.Errorf("Run ended with %v after %v, want deadline exceeded soon after the grace", err, took)
		}
		if !strings.Contains(err.Error(), "1 still run") {
			t.Errorf("Run ended with %q, want to read how many handlers were left behind", err)
		}
		if err := <-answered; !errors.Is(err, link.Unavailable) {
			t.Errorf("the call ended with %v, want unavailable", err)
		}
		close(release)
	})
}
