package link_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// TestThousandCallsOnOneConnection has no handler return before all 1,000 calls
// are in handlers.
func TestThousandCallsOnOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		const calls = 1000
		var inside atomic.Int32
		all := make(chan struct{})
		orders(mesh, link.Config{}, func(ctx context.Context, o order) (order, error) {
			if inside.Add(1) == calls {
				close(all)
			}
			select {
			case <-all:
				return o, nil
			case <-ctx.Done():
				return o, ctx.Err()
			}
		})
		client := mesh.Node(link.Config{Limits: link.Limits{CallTimeout: time.Minute}})
		var wg sync.WaitGroup
		for i := range calls {
			wg.Go(func() {
				want := order{ID: fmt.Sprint(i), Cents: int64(i)}
				if got, err := reqrep.Call(t.Context(), client, putOrder, want); err != nil || got != want {
					t.Errorf("call %d: %+v, %v", i, got, err)
				}
			})
		}
		wg.Wait()
		if inside.Load() != calls {
			t.Errorf("%d calls ran %d times", calls, inside.Load())
		}
	})
}

// TestFiveHundredClientsOfOneServer has all clients call at the same moment, twice.
func TestFiveHundredClientsOfOneServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		var runs atomic.Int32
		orders(mesh, link.Config{}, func(_ context.Context, o order) (order, error) { runs.Add(1); return o, nil })
		n := 500
		// The race detector makes cryptography slow.
		if race.Enabled {
			n = 100
		}
		clients := make([]*link.Node, n)
		for i := range clients {
			clients[i] = mesh.Node(link.Config{Limits: link.Limits{CallTimeout: time.Minute}})
		}
		for range 2 {
			var wg sync.WaitGroup
			for i, client := range clients {
				wg.Go(func() {
					if _, err := reqrep.Call(t.Context(), client, putOrder, order{}); err != nil {
						t.Errorf("client %d: %v", i, err)
					}
				})
			}
			wg.Wait()
		}
		if got, want := int(runs.Load()), 2*n; got != want {
			t.Errorf("%d calls ran %d times", want, got)
		}
	})
}

// TestUntypedCall checks Host.HandleCall and Host.Call, on which the patterns are built.
func TestUntypedCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		route := link.Route{Service: "orders", Name: "raw", Kind: link.KindChannel}
		srv := mesh.Node(link.Config{Service: "orders"})
		link.HostOf(srv).HandleCall(route, link.CallHandler{
			New: func() any { return new(string) },
			Serve: func(_ context.Context, request any) (any, error) {
				s, ok := request.(*string)
				if !ok {
					return nil, link.Errorf(link.Internal, "request is a %T", request)
				}
				return strings.ToUpper(*s), nil
			},
		})
		mesh.Start(srv)
		client := mesh.Node(link.Config{})
		var got string
		if err := link.HostOf(client).Call(t.Context(), route, "hello", &got); err != nil || got != "HELLO" {
			t.Errorf("got %q, %v", got, err)
		}
		if err := link.HostOf(client).Call(t.Context(), route, "hello", nil); err != nil {
			t.Errorf("without a place for the reply: %v", err)
		}
		if err := link.HostOf(client).Call(t.Context(), route, make(chan int), &got); !errors.Is(err, link.InvalidArgument) {
			t.Errorf("a request that cannot be encoded: %v, want invalid argument", err)
		}
		for _, wrong := range []link.Route{
			{}, {Service: "orders"}, {Name: "raw"}, {Service: "orders", Name: strings.Repeat("n", 256)}, {Service: "a b", Name: "x"},
		} {
			if err := link.HostOf(client).Call(t.Context(), wrong, "hello", &got); !errors.Is(err, link.InvalidArgument) || !strings.Contains(err.Error(), "Service ") && !strings.Contains(err.Error(), "Route.Name") {
				t.Errorf("route %+v: %v, want invalid argument that names the field", wrong, err)
			}
		}
	})
}

// TestKindsMixedUp calls a stream route, opens a stream to a method, and expects errors.
func TestKindsMixedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		srv := mesh.Node(link.Config{Service: "orders"})
		method := link.Route{Service: "orders", Name: "method", Kind: link.KindChannel}
		stream := link.Route{Service: "orders", Name: "stream", Kind: link.KindChannel}
		link.HostOf(srv).HandleCall(method, link.CallHandler{
			New:   func() any { return new(string) },
			Serve: func(_ context.Context, request any) (any, error) { return request, nil },
		})
		link.HostOf(srv).Handle(stream, func(_ context.Context, s *link.Stream) error {
			_, err := s.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		})
		mesh.Start(srv)
		client := mesh.Node(link.Config{})
		for range 3 {
			var got string
			if err := link.HostOf(client).Call(t.Context(), stream, "hello", &got); err == nil {
				t.Error("a call of a stream worked")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			s, err := link.HostOf(client).Open(ctx, method)
			if err == nil {
				if err = s.Send(link.Frame{Kind: frameText}); err == nil {
					_, err = s.Recv()
				}
			}
			if err == nil || errors.Is(err, io.EOF) {
				t.Errorf("a stream to a method: %v, want an error", err)
			}
			cancel()
			if err := link.HostOf(client).Call(t.Context(), method, "hello", &got); err != nil || got != "hello" {
				t.Errorf("a right call after that: %q, %v", got, err)
			}
		}
	})
}

// TestNewInstancesGetCalls adds servers one by one while calls go on.
func TestNewInstancesGetCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		client := mesh.Node(link.Config{})
		var all []*atomic.Int32
		for range 4 {
			runs := new(atomic.Int32)
			all = append(all, runs)
			orders(mesh, link.Config{}, func(_ context.Context, o order) (order, error) { runs.Add(1); return o, nil })
			// A new instance gets its full share of calls only after a while.
			sleep(40 * time.Second)
			for range 200 {
				if _, err := reqrep.Call(t.Context(), client, putOrder, order{}); err != nil {
					t.Fatal(err)
				}
				sleep(time.Millisecond)
			}
		}
		for i, runs := range all {
			if runs.Load() < 10 {
				t.Errorf("instance %d got %d of 800 calls", i, runs.Load())
			}
		}
	})
}

// TestAProcessThatWasKilledIsLeftAtOnce has the registry of a host, where a lock that the
// kernel drops says who lives, replace a killed instance by its successor, and expects the
// client to leave the old one, although the connection to it seems to be alive and every
// instance that the registry knew before is gone.
func TestAProcessThatWasKilledIsLeftAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		first := orders(mesh, link.Config{}, keep)
		registry, err := static.New(discovery.Instance{ID: first.Instance(), Service: "orders", Addr: first.Addr()})
		if err != nil {
			t.Fatal(err)
		}
		client := mesh.Node(link.Config{Registry: &shared{Registry: registry, origin: discovery.FromHost}})
		if _, err := callWithin(t, client, time.Second); err != nil {
			t.Fatal(err)
		}
		mesh.Kill(first)
		second := orders(mesh, link.Config{}, keep)
		if err := registry.Set(discovery.Instance{ID: second.Instance(), Service: "orders", Addr: second.Addr()}); err != nil {
			t.Fatal(err)
		}
		sleep(100 * time.Millisecond)
		for i := range 40 {
			if _, err := callWithin(t, client, time.Second); err != nil {
				t.Errorf("call %d: %v", i, err)
			}
			sleep(50 * time.Millisecond)
		}
	})
}

// TestRegistryThatForgetsEverything checks that a client keeps a connection that answers
// for a while after its registry has lost all instances.
func TestRegistryThatForgetsEverything(t *testing.T) {
	for name, tt := range map[string]struct {
		kill  bool
		stays time.Duration
	}{
		"while its instances live": {false, 20 * time.Second},
		"with its instances":       {true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				srv := orders(mesh, link.Config{}, keep)
				registry, err := static.New(discovery.Instance{ID: srv.Instance(), Service: "orders", Addr: srv.Addr()})
				if err != nil {
					t.Fatal(err)
				}
				client := mesh.Node(link.Config{Registry: registry})
				if _, err := callWithin(t, client, time.Second); err != nil {
					t.Fatal(err)
				}
				if tt.kill {
					mesh.Kill(srv)
				}
				if err := registry.Set(); err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				for time.Since(begin) < tt.stays {
					if _, err := callWithin(t, client, time.Second); err != nil {
						t.Errorf("%v after the registry lost its memory: %v", time.Since(begin), err)
					}
					sleep(time.Second)
				}
				for err == nil {
					_, err = callWithin(t, client, time.Second)
					sleep(time.Second)
				}
				if took := time.Since(begin); took > 40*time.Second {
					t.Errorf("the instance is forgotten after %v", took)
				}
				for errors.Is(err, link.DeadlineExceeded) {
					_, err = callWithin(t, client, time.Second)
				}
				if took := time.Since(begin); !errors.Is(err, link.Unavailable) || took > 40*time.Second {
					t.Errorf("after %v: %v, want unavailable", took, err)
				}
			})
		})
	}
}
