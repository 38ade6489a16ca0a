package link_test

import (
	"context"
	"errors"
	"strings"
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

// TestADrainCallsItsFunctions checks that a drain calls the functions of OnDrain while a
// handler runs and those of OnLastCall after it, both while connections still work.
func TestADrainCallsItsFunctions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		peer := mesh.Node(link.Config{Service: "peer"})
		get := reqrep.NewMethod[order, order]("peer", "get", link.ReadOnly)
		reqrep.Handle(peer, get, keep)
		mesh.Start(peer)
		handled := make(chan struct{})
		began := make(chan struct{})
		srv := mesh.Node(link.Config{Service: "orders"})
		reqrep.Handle(srv, putOrder, func(_ context.Context, o order) (order, error) {
			close(began)
			sleep(3 * time.Second)
			close(handled)
			return o, nil
		})
		running := func() bool {
			select {
			case <-handled:
				return false
			default:
				return true
			}
		}
		ask := func(ctx context.Context) {
			if _, err := reqrep.Call(ctx, srv, get, order{}); err != nil {
				t.Errorf("a call within a drain: %v", err)
			}
		}
		var order1 []string
		link.HostOf(srv).OnLastCall(func(ctx context.Context) error {
			order1 = append(order1, "quiet")
			if running() {
				t.Error("OnLastCall was called while a handler ran")
			}
			ask(ctx)
			return errors.New("not saved")
		})
		srv.OnDrain(func(ctx context.Context) error {
			if !running() {
				t.Error("OnDrain was called after the handler had ended")
			}
			ask(ctx)
			sleep(5 * time.Second)
			order1 = append(order1, "drain")
			return nil
		})
		srv.OnDrain(func(context.Context) error { panic("in a function") }) //nolint:forbidigo // what is tested
		mesh.Start(srv)
		client := mesh.Node(link.Config{})
		called := make(chan error, 1)
		go func() {
			_, err := reqrep.Call(t.Context(), client, putOrder, order{})
			called <- err
		}()
		<-began
		err := srv.Shutdown(t.Context())
		if err == nil || !strings.Contains(err.Error(), "not saved") || !strings.Contains(err.Error(), "panicked: in a function") {
			t.Errorf("Shutdown returned %v, want what the functions returned", err)
		}
		if strings.Join(order1, " ") != "drain quiet" {
			t.Errorf("called in the order %v", order1)
		}
		if err := <-called; err != nil {
			t.Errorf("the call that ran: %v", err)
		}
	})
}

// TestADrainLeavesFunctionsBehind drains a node with one function that ignores the end of
// its context and one that returns, and expects Run to report the first.
func TestADrainLeavesFunctionsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := mesh.Node(link.Config{Service: "orders", Limits: link.Limits{DrainTimeout: 3 * time.Second}})
		release := make(chan struct{})
		defer close(release)
		node.OnDrain(func(context.Context) error { <-release; return nil })
		node.OnDrain(func(ctx context.Context) error { <-ctx.Done(); return nil })
		called := false
		link.HostOf(node).OnLastCall(func(ctx context.Context) error { called = ctx.Err() != nil; return nil })
		ctx, stop := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- node.Run(ctx) }()
		<-node.Ready()
		stop()
		if err := <-ran; !errors.Is(err, link.DeadlineExceeded) || !strings.Contains(err.Error(), "1 functions") {
			t.Errorf("Run returned %v, want that one function has not returned", err)
		}
		if !called {
			t.Error("OnLastCall was not called with a context that has ended")
		}
	})
}

// TestCloseCallsNoFunctions checks that Close, which does not drain, calls no functions of a drain.
func TestCloseCallsNoFunctions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := linktest.NewMesh(t).Node(link.Config{})
		node.OnDrain(func(context.Context) error { t.Error("called"); return nil })
		link.HostOf(node).OnLastCall(func(context.Context) error { t.Error("called"); return nil })
		if err := node.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestANodeThatIsNotAnnouncedDrains checks that a node that cannot reach its registry serves a client
// that knows its address, and drains when it ends, by its context or by Shutdown.
func TestANodeThatIsNotAnnouncedDrains(t *testing.T) {
	for name, end := range map[string]func(node *link.Node, cancel func()) error{
		"its context ends": func(_ *link.Node, cancel func()) error { cancel(); return nil },
		"Shutdown":         func(node *link.Node, _ func()) error { return node.Shutdown(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				node := mesh.Node(link.Config{Service: "orders", Registry: &ill{Registry: mesh.Registry(), until: time.Now().Add(time.Hour)}})
				reqrep.Handle(node, putOrder, func(ctx context.Context, o order) (order, error) {
					sleep(3 * time.Second)
					return o, ctx.Err()
				})
				var drained atomic.Bool
				node.OnDrain(func(context.Context) error { drained.Store(true); return nil })
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ran, called := make(chan error, 1), make(chan error, 1)
				go func() { ran <- node.Run(ctx) }()
				sleep(time.Second)
				list, err := static.New(discovery.Instance{Service: "orders", Addr: node.Addr()})
				if err != nil {
					t.Fatal(err)
				}
				client := mesh.Node(link.Config{Registry: list})
				go func() {
					_, err := reqrep.Call(t.Context(), client, putOrder, order{ID: "o"})
					called <- err
				}()
				sleep(time.Second)
				if err := end(node, cancel); err != nil {
					t.Errorf("the end: %v", err)
				}
				if err := <-called; err != nil {
					t.Errorf("a call that ran: %v", err)
				}
				if err := <-ran; err != nil || !drained.Load() {
					t.Errorf("Run returned %v, OnDrain was called: %t", err, drained.Load())
				}
			})
		})
	}
}
