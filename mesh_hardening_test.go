package link_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/internal/securitytest"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// hangingRegistry blocks until the context ends: in Register if inRegister is set, otherwise in Update.
type hangingRegistry struct {
	*static.Registry

	inRegister bool
}

func (r hangingRegistry) Register(ctx context.Context, in discovery.Instance) (discovery.Registration, error) {
	if r.inRegister {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	registration, err := r.Registry.Register(ctx, in)
	return hangingUpdate{registration}, err
}

type hangingUpdate struct{ discovery.Registration }

func (hangingUpdate) Update(ctx context.Context, _ discovery.Instance) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestRegistryThatHangsDoesNotHoldUpADrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		work := func(_ context.Context, o order) (order, error) {
			sleep(500 * time.Millisecond)
			return o, nil
		}
		first := orders(mesh, link.Config{Registry: hangingRegistry{Registry: mesh.Registry()}}, work)
		orders(mesh, link.Config{}, work)
		client := mesh.Node(link.Config{})
		var done atomic.Bool
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for !done.Load() {
					if _, err := reqrep.Call(t.Context(), client, putOrder, order{}); err != nil {
						t.Errorf("during the drain: %v", err)
					}
				}
			})
		}
		sleep(2 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		begin := time.Now()
		if err := first.Shutdown(ctx); err != nil || time.Since(begin) > 3*time.Second {
			t.Errorf("the drain ended with %v after %v, want nil within 3s", err, time.Since(begin))
		}
		sleep(time.Second)
		done.Store(true)
		wg.Wait()
	})
}

func TestCloseWhileTheRegistryHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := mesh.Node(link.Config{Service: "orders", Registry: hangingRegistry{Registry: mesh.Registry(), inRegister: true}})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ran, closed := make(chan error, 1), make(chan error, 1)
		go func() { ran <- node.Run(ctx) }()
		sleep(time.Second)
		go func() { closed <- node.Close() }()
		select {
		case err := <-closed:
			if err != nil {
				t.Errorf("Close: %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("Close waits for the registry")
			cancel()
		}
		if err := <-ran; !errors.Is(err, link.Unavailable) || !strings.Contains(err.Error(), "closed") {
			t.Errorf("Run: %v, want unavailable: the node is closed", err)
		}
	})
}

func TestChangedTagsAreSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		client := mesh.Node(link.Config{})
		for _, tag := range []string{"v1", "v2"} {
			if err := mesh.Registry().Set(discovery.Instance{ID: "a", Service: "orders", Addr: "10.9.9.9:7443", Tags: []string{tag}}); err != nil {
				t.Fatal(err)
			}
			// The client must receive the change first.
			synctest.Wait()
			got, err := client.Instances(t.Context(), "orders")
			if err != nil || len(got) != 1 {
				t.Fatalf("got %v, %v, want one instance", got, err)
			}
			if diff := cmp.Diff([]string{tag}, got[0].Tags); diff != "" {
				t.Errorf("tags (-want +got):\n%s", diff)
			}
		}
	})
}

func TestClientWhoseAddressIsInUseSaysSo(t *testing.T) {
	var lc net.ListenConfig
	taken, err := lc.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	registry, err := static.New(discovery.Instance{Service: "orders", Addr: "127.0.0.1:9"})
	if err != nil {
		t.Fatal(err)
	}
	addr := taken.LocalAddr().String()
	client, err := link.New(link.Config{Addr: addr, Identity: securitytest.NewCA(t, "mesh.test").Source("client"), Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	_, err = reqrep.Call(t.Context(), client, putOrder, order{})
	if !errors.Is(err, link.Unavailable) || !strings.Contains(err.Error(), "opening the UDP socket on "+addr) || !strings.Contains(err.Error(), "choose another port in Config.Addr or LINK_ADDR") {
		t.Errorf("got %v, want unavailable: the socket on %s", err, addr)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
}

// runOrders runs a node on a real socket at addr. The node ends when stop is called; ended then gets the error of Run.
func runOrders(t *testing.T, ca *securitytest.CA, addr string, h orderHandler) (node *link.Node, stop context.CancelFunc, ended <-chan error) {
	t.Helper()
	// The registry is empty, as on a server whose clients use LINK_PEERS.
	registry, err := static.New()
	if err != nil {
		t.Fatal(err)
	}
	node, err = link.New(link.Config{Service: "orders", Addr: addr, Identity: ca.Source("orders"), Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	reqrep.Handle(node, putOrder, h)
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- node.Run(ctx) }()
	select {
	case <-node.Ready():
	case err := <-ran:
		cancel()
		t.Fatal(err)
	}
	return node, cancel, ran
}

// TestRestartAtAFixedAddress restarts the only instance of a static list after a
// call was refused by its drain.
func TestRestartAtAFixedAddress(t *testing.T) {
	ca := securitytest.NewCA(t, "mesh.test")
	held, release := make(chan struct{}), make(chan struct{})
	first, stop, ended := runOrders(t, ca, "127.0.0.1:0", func(_ context.Context, o order) (order, error) {
		if o.ID == "hold" {
			close(held)
			<-release
		}
		return o, nil
	})
	addr := first.Addr()
	registry, err := static.New(discovery.Instance{Service: "orders", Addr: addr})
	if err != nil {
		t.Fatal(err)
	}
	client, err := link.New(link.Config{Addr: "127.0.0.1:0", Identity: ca.Source("client"), Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	holding := make(chan error, 1)
	go func() {
		_, err := reqrep.Call(t.Context(), client, putOrder, order{ID: "hold"})
		holding <- err
	}()
	<-held
	stop()
	// Call until the client has heard of the drain.
	for err = nil; err == nil; {
		_, err = reqrep.Call(t.Context(), client, putOrder, order{})
	}
	if !errors.Is(err, link.Unavailable) {
		t.Errorf("during the drain: %v, want unavailable", err)
	}
	close(release)
	if err := errors.Join(<-holding, <-ended); err != nil {
		t.Errorf("the drain: %v", err)
	}

	_, stop, ended = runOrders(t, ca, addr, keep)
	if _, err := reqrep.Call(t.Context(), client, putOrder, order{}); err != nil {
		t.Errorf("the first call after the restart: %v", err)
	}
	stop()
	if err := errors.Join(<-ended, client.Close()); err != nil {
		t.Error(err)
	}
}
