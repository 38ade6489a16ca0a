package link_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// oneStream starts an instance that allows one stream at a time per connection, and
// whose handler of heldRoute blocks until its context ends.
func oneStream(mesh *linktest.Mesh) *link.Node {
	node := mesh.Node(link.Config{Service: "orders", Limits: link.Limits{Streams: link.StreamLimits{PerConnection: 1}}})
	link.HostOf(node).Handle(heldRoute, func(ctx context.Context, _ *link.Stream) error {
		<-ctx.Done()
		return ctx.Err()
	})
	reqrep.Handle(node, putBlob, func(_ context.Context, b blob) (blob, error) { return b, nil })
	mesh.Start(node)
	return node
}

type blob struct{ Data []byte }

var (
	heldRoute = link.Route{Service: "orders", Kind: link.KindChannel, Name: "held"}
	putBlob   = reqrep.NewMethod[blob, blob]("orders", "blob", link.Unsafe)
)

// waits returns the operations that need a stream of their own.
func waits() map[string]func(ctx context.Context, client *link.Node) error {
	return map[string]func(ctx context.Context, client *link.Node) error{
		"a stream": func(ctx context.Context, client *link.Node) error {
			_, err := link.HostOf(client).Open(ctx, heldRoute)
			return err
		},
		"a large call": func(ctx context.Context, client *link.Node) error {
			_, err := reqrep.Call(ctx, client, putBlob, blob{bytes.Repeat([]byte("x"), 100<<10)})
			return err
		},
	}
}

// TestWaitingForAStreamEnds checks that an operation waits for a stream of its own for
// Config.Limits.CallTimeout at most, like calls on leased streams.
func TestWaitingForAStreamEnds(t *testing.T) {
	for name, wait := range waits() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				oneStream(mesh)
				client := mesh.Node(link.Config{Limits: link.Limits{CallTimeout: 3 * time.Second}})
				held, err := link.HostOf(client).Open(t.Context(), heldRoute)
				if err != nil {
					t.Fatal(err)
				}
				defer held.Close()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				defer time.AfterFunc(time.Minute, cancel).Stop()
				begin := time.Now()
				err = wait(ctx, client)
				if took := time.Since(begin); !errors.Is(err, link.DeadlineExceeded) || took != 3*time.Second || !strings.Contains(err.Error(), "waiting for a stream") {
					t.Errorf("got %v after %v, want deadline exceeded after 3s, while waiting for a stream", err, took)
				}
				synctest.Wait()
				if err := held.Context().Err(); err != nil {
					t.Errorf("the stream that is open ended too: %v", err)
				}
			})
		})
	}
}

// TestAStreamOutlivesItsOpening checks that Config.Limits.CallTimeout applies to the opening alone.
func TestAStreamOutlivesItsOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		oneStream(mesh)
		client := mesh.Node(link.Config{Limits: link.Limits{CallTimeout: time.Second}})
		s, err := link.HostOf(client).Open(t.Context(), heldRoute)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		sleep(time.Minute)
		if err := s.Send(link.Frame{Kind: 0x40}); err != nil || s.Context().Err() != nil {
			t.Errorf("after a minute: %v, context %v", err, s.Context().Err())
		}
	})
}

// TestThoseThatWaitForAStreamAreBounded checks that Limits.Streams.Waiters bounds all
// operations that wait for a stream on one connection.
func TestThoseThatWaitForAStreamAreBounded(t *testing.T) {
	for name, wait := range waits() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const waiters = 3
				mesh := linktest.NewMesh(t)
				oneStream(mesh)
				client := mesh.Node(link.Config{Limits: link.Limits{Streams: link.StreamLimits{Waiters: waiters}}})
				held, err := link.HostOf(client).Open(t.Context(), heldRoute)
				if err != nil {
					t.Fatal(err)
				}
				defer held.Close()
				ctx, cancel := context.WithCancel(t.Context())
				var waiting sync.WaitGroup
				for range waiters {
					waiting.Go(func() {
						if err := wait(ctx, client); !errors.Is(err, link.Canceled) {
							t.Errorf("one who waits: %v, want canceled", err)
						}
					})
				}
				synctest.Wait()
				if err := wait(ctx, client); !errors.Is(err, link.ResourceExhausted) || !strings.Contains(err.Error(), "Limits.Streams.Waiters") {
					t.Errorf("one more: %v, want resource exhausted that names Limits.Streams.Waiters", err)
				}
				cancel()
				waiting.Wait()
			})
		})
	}
}
