package link_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
	"github.com/linkmesh/link/protocol/pubsub"
	"github.com/linkmesh/link/protocol/reqrep"
)

// counting is a codec that counts the bytes of the messages that it decodes.
type counting struct {
	codec.Codec
	bytes atomic.Int64
}

func (c *counting) Decode(data []byte, v any) error {
	c.bytes.Add(int64(len(data)))
	return c.Codec.Decode(data, v)
}

var errNotYou = errors.New("not you")

func notYou(link.Peer) error { return errNotYou }

// denying is server middleware that refuses every operation.
func denying(link.Next) link.Next {
	return func(context.Context, *link.Operation) error { return link.Errorf(link.PermissionDenied, "not you") }
}

var (
	bulkMethod = reqrep.NewMethod[string, string]("orders", "bulk", link.Unsafe)
	bulkTopic  = pubsub.NewTopic[string]("orders", "placed")
	bulkStage  = pipeline.NewStage[string, pipeline.None]("orders", "resize")
)

// TestACallerThatIsRefusedCostsItsHeaders checks that messages of a refused caller are neither read nor decoded.
func TestACallerThatIsRefusedCostsItsHeaders(t *testing.T) { // SEC-351
	large := strings.Repeat("x", 3<<20)
	for _, tt := range []struct {
		name   string
		server link.Config
		opts   []link.HandleOption
	}{
		{"by middleware", link.Config{ServerMiddleware: []link.Middleware{denying}}, nil},
		{"by Authorize", link.Config{}, []link.HandleOption{link.Authorize(notYou)}},
		{"by Authorize, before middleware", link.Config{ServerMiddleware: []link.Middleware{passing}}, []link.HandleOption{link.Authorize(notYou)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				counted := &counting{Codec: codec.CBOR()}
				tt.server.Service, tt.server.Codec, tt.server.Limits.InFlightBytes = "orders", counted, 1<<20
				srv := mesh.Node(tt.server)
				reqrep.Handle(srv, bulkMethod, func(context.Context, string) (string, error) {
					t.Error("the handler ran")
					return "", nil
				}, tt.opts...)
				mesh.Start(srv)
				client := mesh.Node(link.Config{})
				for _, text := range []string{large, "small", "small", large, "small"} {
					_, err := reqrep.Call(t.Context(), client, bulkMethod, text)
					if !errors.Is(err, link.PermissionDenied) || !strings.Contains(err.Error(), "not you") {
						t.Errorf("a call with %d bytes: %v, want permission denied", len(text), err)
					}
				}
				if n := counted.bytes.Load(); n != 0 {
					t.Errorf("%d bytes of messages were decoded", n)
				}
			})
		})
	}
}

func passing(next link.Next) link.Next { return next }

func TestAProducerThatIsRefusedHasNoTaskDecoded(t *testing.T) { // SEC-352
	for name, tt := range map[string]struct {
		server link.Config
		rule   func(pipeline.Access) error
	}{
		"by middleware": {link.Config{ServerMiddleware: []link.Middleware{denying}}, func(pipeline.Access) error { return nil }},
		"by Authorize":  {link.Config{}, func(a pipeline.Access) error { return notYou(a.Peer) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				counted := &counting{Codec: codec.CBOR()}
				tt.server.Service, tt.server.Codec = "orders", counted
				srv := mesh.Node(tt.server)
				pipeline.Authorize(srv, tt.rule)
				pipeline.Pull(srv, bulkStage, pipeline.NoResult(func(context.Context, string) error {
					t.Error("a task was done")
					return nil
				}))
				mesh.Start(srv)
				p, err := pipeline.NewProducer(mesh.Node(link.Config{Service: "web"}), bulkStage)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if _, err := p.Push(ctx, strings.Repeat("x", 1<<20)); err == nil {
					t.Error("the push succeeded")
				}
				if n := counted.bytes.Load(); n != 0 {
					t.Errorf("%d bytes of tasks were decoded", n)
				}
			})
		})
	}
}

func TestAPublisherThatIsRefusedHasNoMessageDecoded(t *testing.T) { // SEC-353
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		srv := mesh.Node(link.Config{Service: "orders"})
		p, err := pubsub.NewPublisher(srv, bulkTopic)
		if err != nil {
			t.Fatal(err)
		}
		mesh.Start(srv)
		counted := &counting{Codec: codec.CBOR()}
		client := mesh.Node(link.Config{Codec: counted})
		pubsub.Authorize(client, func(a pubsub.Access) error {
			if a.Verb == pubsub.CanWrite {
				return errNotYou
			}
			return nil
		})
		sub, err := pubsub.Subscribe(t.Context(), client, bulkTopic)
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Close()
		for range 3 {
			if _, err := p.Publish(t.Context(), strings.Repeat("x", 1<<20)); err != nil {
				t.Fatal(err)
			}
		}
		told := 0
		for m := range sub.Messages() {
			if m.Gap == nil {
				t.Fatal("a message of a publisher that is not believed arrived")
			}
			if told += int(m.Gap.Count); told == 3 {
				break
			}
		}
		if n := counted.bytes.Load(); n != 0 {
			t.Errorf("%d bytes of messages were decoded", n)
		}
	})
}

// TestARequestIsNotReadBehindItsReply has middleware reply and then decode the request in the background, which
// must not consume bytes of later calls on the stream.
func TestARequestIsNotReadBehindItsReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var left sync.WaitGroup
		impatient := func(next link.Next) link.Next {
			return func(ctx context.Context, op *link.Operation) error {
				if op.Metadata.Get("slow") == "" {
					return next(ctx, op)
				}
				left.Go(func() {
					<-time.After(time.Second)
					if _, err := op.Decode(); !errors.Is(err, link.Canceled) {
						t.Errorf("the request of a call that is over: %v, want canceled", err)
					}
				})
				return link.Errorf(link.DeadlineExceeded, "too slow for the middleware")
			}
		}
		srv := mesh.Node(link.Config{Service: "orders", ServerMiddleware: []link.Middleware{impatient}})
		reqrep.Handle(srv, bulkMethod, func(_ context.Context, text string) (string, error) { return text, nil })
		mesh.Start(srv)
		client := mesh.Node(link.Config{})
		for i := range 4 {
			if _, err := reqrep.Call(t.Context(), client, bulkMethod, "lost", link.Meta("slow", "yes")); !errors.Is(err, link.DeadlineExceeded) {
				t.Errorf("got %v, want the error of the middleware", err)
			}
			if got, err := reqrep.Call(t.Context(), client, bulkMethod, fmt.Sprint(i)); err != nil || got != fmt.Sprint(i) {
				t.Errorf("the call after it: %q, %v", got, err)
			}
		}
		left.Wait()
	})
}

func TestAuthorizeThatPanicsRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		srv := mesh.Node(link.Config{Service: "orders"})
		reqrep.Handle(srv, bulkMethod, func(_ context.Context, text string) (string, error) {
			t.Error("the handler ran")
			return text, nil
		}, link.Authorize(func(p link.Peer) error {
			if p.Service() != "client" {
				t.Errorf("the caller is %v", p)
			}
			panic("no database") //nolint:forbidigo // under test
		}))
		mesh.Start(srv)
		_, err := reqrep.Call(t.Context(), mesh.Node(link.Config{}), bulkMethod, "x")
		if !errors.Is(err, link.Internal) || strings.Contains(err.Error(), "no database") {
			t.Errorf("got %v, want internal, and nothing of the cause", err)
		}
	})
}

// TestACheckThatIsNilIsRefused checks that Authorize panics on a nil check, which would let everybody in.
func TestACheckThatIsNilIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := linktest.NewMesh(t).Node(link.Config{Service: "orders"})
		defer func() {
			if err, ok := recover().(error); !ok || !errors.Is(err, link.InvalidArgument) || !strings.Contains(err.Error(), "Authorize(nil) for orders/put would let everybody in") {
				t.Errorf("got %v", err)
			}
		}()
		reqrep.Handle(node, putOrder, keep, link.Authorize(nil))
	})
}
