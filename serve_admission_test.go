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

	"github.com/google/go-cmp/cmp"

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

// seen is what middleware saw of an operation.
type seen struct {
	Route    string
	Kind     link.Kind
	Unserved bool
	Code     link.Code
	Panic    any
}

// watching is server middleware that records what it sees.
type watching struct {
	mu   sync.Mutex // guards the field below
	list []seen
}

func (w *watching) middleware(next link.Next) link.Next {
	return func(ctx context.Context, op *link.Operation) error {
		err := next(ctx, op)
		s := seen{Route: op.Route.String(), Kind: op.Route.Kind, Unserved: op.Unserved, Code: link.CodeOf(err)}
		if p, ok := errors.AsType[*link.PanicError](err); ok {
			s.Panic = p.Value
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.list = append(w.list, s)
		return err
	}
}

func (w *watching) take() []seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.list
	w.list = nil
	return list
}

func TestServerMiddlewareSeesWhatFails(t *testing.T) {
	asText := link.Route{Service: "orders", Name: "count", Kind: link.KindMethod}
	for _, tt := range []struct {
		name string
		do   func(ctx context.Context, client *link.Node) error
		cfg  link.Config
		code link.Code
		want seen
	}{
		{
			"a request that cannot be decoded",
			func(ctx context.Context, client *link.Node) error {
				return link.HostOf(client).Call(ctx, asText, new("three"), new(string))
			},
			link.Config{},
			link.InvalidArgument,
			seen{Route: "orders/count", Code: link.InvalidArgument},
		},
		{
			"a method that nobody serves",
			func(ctx context.Context, client *link.Node) error {
				return link.HostOf(client).Call(ctx, link.Route{Service: "orders", Name: "admin/reset"}, new(strings.Repeat("x", 1<<20)), nil)
			},
			link.Config{},
			link.Unimplemented,
			seen{Route: "orders/admin/reset", Unserved: true, Code: link.Unimplemented},
		},
		{
			"a stage that nobody serves",
			func(ctx context.Context, client *link.Node) error {
				st, err := link.HostOf(client).Open(ctx, link.Route{Service: "orders", Name: "resize", Kind: link.KindStage})
				if err == nil {
					_, err = st.Recv()
				}
				return err
			},
			link.Config{},
			link.Unimplemented,
			seen{Route: "orders/resize", Kind: link.KindStage, Unserved: true, Code: link.Unimplemented},
		},
		{
			"a handler that panics",
			func(ctx context.Context, client *link.Node) error {
				return link.HostOf(client).Call(ctx, asText, new(13), new(string))
			},
			link.Config{},
			link.Internal,
			seen{Route: "orders/count", Code: link.Internal, Panic: "thirteen"},
		},
		{
			"a stream handler that panics",
			func(ctx context.Context, client *link.Node) error {
				st, err := link.HostOf(client).Open(ctx, link.Route{Service: "orders", Name: "feed", Kind: link.KindChannel})
				if err == nil {
					_, err = st.Recv()
				}
				return err
			},
			link.Config{},
			link.Internal,
			seen{Route: "orders/feed", Kind: link.KindChannel, Code: link.Internal, Panic: "feed"},
		},
		{
			"a handler that fails",
			func(ctx context.Context, client *link.Node) error {
				return link.HostOf(client).Call(ctx, asText, new(0), new(string))
			},
			link.Config{},
			link.NotFound,
			seen{Route: "orders/count", Code: link.NotFound},
		},
		{
			"a call that succeeds",
			func(ctx context.Context, client *link.Node) error {
				return link.HostOf(client).Call(ctx, asText, new(1), new(string))
			},
			link.Config{},
			link.OK,
			seen{Route: "orders/count", Code: link.OK},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				var log logBuffer
				w := &watching{}
				srv := mesh.Node(link.Config{Service: "orders", ServerMiddleware: []link.Middleware{w.middleware}, Logger: log.logger()})
				reqrep.Handle(srv, reqrep.NewMethod[int, string]("orders", "count", link.Unsafe), func(_ context.Context, n int) (string, error) {
					switch n {
					case 0:
						return "", link.NotFound
					case 13:
						panic("thirteen") //nolint:forbidigo // under test
					}
					return fmt.Sprint(n), nil
				})
				link.HostOf(srv).Handle(link.Route{Service: "orders", Name: "feed", Kind: link.KindChannel}, func(context.Context, *link.Stream) error {
					panic("feed") //nolint:forbidigo // under test
				})
				mesh.Start(srv)
				client := mesh.Node(tt.cfg)
				// The second call names the route by its number.
				for range 2 {
					if err := tt.do(t.Context(), client); link.CodeOf(err) != tt.code {
						t.Errorf("the caller got %v, want %v", err, tt.code)
					}
					if diff := cmp.Diff([]seen{tt.want}, w.take()); diff != "" {
						t.Errorf("middleware saw (-want +got):\n%s", diff)
					}
				}
				if failed := strings.Count(log.String(), "handler failed"); (tt.want.Panic != nil) != (failed > 0) {
					t.Errorf("the log says %d times that a handler failed:\n%s", failed, log.String())
				}
				if strings.Contains(log.String(), "client closed") {
					t.Error("the connection did not survive it")
				}
			})
		})
	}
}

func TestMiddlewareDecodesForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		srv := mesh.Node(link.Config{Service: "orders", ServerMiddleware: []link.Middleware{func(next link.Next) link.Next {
			return func(ctx context.Context, op *link.Operation) error {
				if op.Request != nil {
					t.Errorf("the request was read before middleware: %v", op.Request)
				}
				request, err := op.Decode()
				if err != nil {
					return err
				}
				again, err := op.Decode()
				if err != nil || again != request || op.Request != request {
					t.Errorf("Decode returned %v and then %v, %v; Request is %v", request, again, err, op.Request)
				}
				if text, ok := request.(*string); !ok || *text == "" {
					return link.Errorf(link.InvalidArgument, "an empty text")
				}
				return next(ctx, op)
			}
		}}})
		reqrep.Handle(srv, bulkMethod, func(_ context.Context, text string) (string, error) { return text, nil })
		mesh.Start(srv)
		client := mesh.Node(link.Config{})
		for _, text := range []string{"a", strings.Repeat("b", 1<<20), "c"} {
			if got, err := reqrep.Call(t.Context(), client, bulkMethod, text); err != nil || got != text {
				t.Errorf("%d bytes: got %d bytes, %v", len(text), len(got), err)
			}
		}
		if _, err := reqrep.Call(t.Context(), client, bulkMethod, ""); !errors.Is(err, link.InvalidArgument) || !strings.Contains(err.Error(), "an empty text") {
			t.Errorf("got %v, want the error of the middleware", err)
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
