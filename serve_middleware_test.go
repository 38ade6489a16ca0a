package link_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

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
