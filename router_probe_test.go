package link_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/balance"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// unsafely sends unsafe calls, up to a hundred a second for d, and returns how many failed.
func unsafely(t *testing.T, client *link.Node, d time.Duration) (failed int) {
	t.Helper()
	for range int(d / (10 * time.Millisecond)) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if _, err := reqrep.Call(ctx, client, putOrder, order{ID: "o"}); err != nil {
			failed++
		}
		cancel()
		sleep(10 * time.Millisecond)
	}
	return failed
}

// bothAt starts an instance that serves readOrder, which is read-only, and putOrder, which is unsafe.
func bothAt(mesh *linktest.Mesh, put orderHandler) *link.Node {
	node := mesh.Node(link.Config{Service: "orders", Tags: []string{"any"}})
	reqrep.Handle(node, putOrder, put)
	reqrep.Handle(node, readOrder, keep)
	mesh.Start(node)
	return node
}

// TestCallsThatMustNotRunTwiceAreNoProbes checks that an ejected instance is probed by calls that
// may run twice, and that no unsafe call goes to it before.
func TestCallsThatMustNotRunTwiceAreNoProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		var broken atomic.Bool
		var runs atomic.Int64
		bothAt(mesh, keep)
		bothAt(mesh, func(_ context.Context, o order) (order, error) {
			if runs.Add(1); broken.Load() {
				panic("ill") //nolint:forbidigo // a fault of the handler
			}
			return o, nil
		})
		client := mesh.Node(link.Config{})
		warm(t, client)
		// Slow start is over after a minute.
		unsafely(t, client, time.Minute)
		if runs.Load() == 0 {
			t.Fatal("the instance had no calls while it was well")
		}
		broken.Store(true)
		for client.Status().Services[0].Ejected == 0 {
			unsafely(t, client, time.Second)
		}
		broken.Store(false)
		runs.Store(0)
		if failed := unsafely(t, client, balance.DefaultEject/2); failed > 0 || runs.Load() > 0 {
			t.Errorf("%d calls that must not run twice went to an instance that is ejected, and %d failed", runs.Load(), failed)
		}
		// These calls may run twice, so they may probe the instance.
		warm(t, client)
		sleep(time.Second)
		warm(t, client)
		unsafely(t, client, 10*time.Second)
		if runs.Load() == 0 {
			t.Error("a probe was answered, and no call goes to the instance")
		}
	})
}

// TestASilentInstanceIsBackWithoutProbes checks that an instance that was cut off gets calls again even if
// all calls are unsafe: the client dials it, and checks it over its connection.
func TestASilentInstanceIsBackWithoutProbes(t *testing.T) {
	for name, cut := range map[string]time.Duration{"for a moment": 400 * time.Millisecond, "for long": 10 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
				bothAt(mesh, keep)
				var runs atomic.Int64
				lost := bothAt(mesh, func(_ context.Context, o order) (order, error) {
					runs.Add(1)
					return o, nil
				})
				client := mesh.Node(link.Config{})
				unsafely(t, client, time.Minute)
				mesh.Partition(lost, client)
				// One call waits until the connection is given up or its deadline passes. The next calls
				// know that the instance is silent.
				failed := unsafely(t, client, cut)
				if failed > 2 {
					t.Errorf("%d calls failed, want those that were sent before the silence showed", failed)
				}
				mesh.Heal(lost, client)
				sleep(5 * time.Second)
				unsafely(t, client, 5*time.Second)
				runs.Store(0)
				if failed := unsafely(t, client, 5*time.Second); failed > 0 || runs.Load() == 0 {
					t.Errorf("of 500 calls after it came back the instance had %d, and %d failed", runs.Load(), failed)
				}
			})
		})
	}
}

// TestAKnownInstanceMustReadWhatIsSent checks that, among many addresses that do not answer, a call goes to the
// instance that was connected last only if that instance reads its codec.
func TestAKnownInstanceMustReadWhatIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		other := mesh.Node(link.Config{Service: "orders", Codec: numbers{codec.CBOR()}})
		reqrep.Handle(other, putOrder, keep)
		feed := link.Route{Service: "orders", Name: "feed", Kind: link.KindChannel}
		link.HostOf(other).Handle(feed, func(ctx context.Context, _ *link.Stream) error { <-ctx.Done(); return nil })
		mesh.Start(other)
		client := mesh.Node(link.Config{})
		// The stream opens, since patterns with streams agree on codecs themselves.
		st, err := link.HostOf(client).Open(t.Context(), feed)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		for i := range 100 {
			if _, err := mesh.Registry().Register(t.Context(), discovery.Instance{
				ID: fmt.Sprint("gone-", i), Service: "orders", Addr: fmt.Sprintf("10.9.9.%d:7443", i+1),
			}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			// A large message uses the connection for streams.
			_, err := reqrep.Call(ctx, client, putOrder, order{ID: strings.Repeat("o", 100<<10)})
			cancel()
			if e := (*link.Error)(nil); !errors.As(err, &e) || e.Remote {
				t.Errorf("%v, want an error from this side: nobody can be reached who reads the call", err)
			}
		}
	})
}

// TestAnEjectedInstanceIsNoShortcut checks that a call waits until a healthy instance is connected rather
// than go to a connected instance that is ejected.
func TestAnEjectedInstanceIsNoShortcut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		bothAt(mesh, func(context.Context, order) (order, error) { panic("ill") }) //nolint:forbidigo // a fault of the handler
		client := mesh.Node(link.Config{})
		warm(t, client)
		for client.Status().Services[0].Ejected == 0 {
			if unsafely(t, client, 10*time.Millisecond) == 0 {
				t.Fatal("a call succeeds")
			}
		}
		bothAt(mesh, keep)
		synctest.Wait()
		if s := client.Status().Services[0]; s.Serving != 2 || s.Connected != 1 {
			t.Fatalf("%+v, want two that serve, and a connection to one", s)
		}
		if failed := unsafely(t, client, time.Second); failed > 0 {
			t.Errorf("%d of 100 calls failed, though one of two instances is well", failed)
		}
	})
}
