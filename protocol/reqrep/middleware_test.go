package reqrep_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// noting returns middleware that records when it is entered and left.
func noting(notes *[]string, name string) link.Middleware {
	return func(next link.Next) link.Next {
		return func(ctx context.Context, op *link.Operation) error {
			*notes = append(*notes, name+" in")
			err := next(ctx, op)
			*notes = append(*notes, name+" out")
			return err
		}
	}
}

func TestMiddlewareWrapsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var notes []string
		serve(mesh, link.Config{ServerMiddleware: []link.Middleware{noting(&notes, "s1"), noting(&notes, "s2")}},
			func(_ context.Context, q query) (answer, error) {
				notes = append(notes, "handler")
				return answer(q), nil
			})
		client := mesh.Node(link.Config{ClientMiddleware: []link.Middleware{noting(&notes, "c1"), noting(&notes, "c2")}})
		if got, err := reqrep.Call(t.Context(), client, unsafeMethod, query{"x"}); err != nil || got.Text != "x" {
			t.Fatal(got, err)
		}
		want := []string{"c1 in", "c2 in", "s1 in", "s2 in", "handler", "s2 out", "s1 out", "c2 out", "c1 out"}
		if diff := cmp.Diff(want, notes); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestMiddlewareSeesTheOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var server, client *link.Node
		server = serve(mesh, link.Config{ServerMiddleware: []link.Middleware{func(next link.Next) link.Next {
			return func(ctx context.Context, op *link.Operation) error {
				request, _ := op.Decode()
				q, ok := request.(*query)
				if !ok || q.Text != "ask" || op.Client || op.Route != unsafeMethod.Route() || op.Response != nil ||
					op.Peer.Instance != client.Instance() || op.Metadata.Get("tenant") != "acme" || op.Metadata.Get("added") != "yes" {
					t.Errorf("the server's middleware sees %+v", op)
				}
				if link.Caller(ctx).Instance != client.Instance() {
					t.Error("the server's middleware has not the context of the call")
				}
				q.Text = "changed"
				err := next(ctx, op)
				if a, ok := op.Response.(*answer); !ok || a.Text != "answer" {
					t.Errorf("the server's middleware sees response %+v", op.Response)
				}
				op.Response = &answer{"from middleware"}
				return err
			}
		}}}, func(_ context.Context, q query) (answer, error) {
			if q.Text != "changed" {
				t.Errorf("the handler sees %q", q.Text)
			}
			return answer{"answer"}, nil
		})
		client = mesh.Node(link.Config{ClientMiddleware: []link.Middleware{func(next link.Next) link.Next {
			return func(ctx context.Context, op *link.Operation) error {
				if !op.Client || op.Route != unsafeMethod.Route() || op.Metadata.Get("tenant") != "acme" || op.Peer.Instance != "" {
					t.Errorf("the client's middleware sees %+v", op)
				}
				op.SetMeta("added", "yes")
				err := next(ctx, op)
				if op.Peer.Instance != server.Instance() {
					t.Errorf("the client's middleware sees answerer %v", op.Peer)
				}
				return err
			}
		}}})
		got, err := reqrep.Call(t.Context(), client, unsafeMethod, query{"ask"}, link.Meta("tenant", "acme"))
		if err != nil || got.Text != "from middleware" {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

func TestMiddlewareEndsACallItself(t *testing.T) {
	deny := func(link.Next) link.Next {
		return func(context.Context, *link.Operation) error { return link.Errorf(link.PermissionDenied, "not you") }
	}
	panics := func(link.Next) link.Next {
		return func(context.Context, *link.Operation) error { panic("in middleware") } //nolint:forbidigo // under test
	}
	hide := func(next link.Next) link.Next {
		return func(ctx context.Context, op *link.Operation) error { _ = next(ctx, op); return nil }
	}
	foreign := func(next link.Next) link.Next {
		return func(_ context.Context, op *link.Operation) error { return next(context.Background(), op) } //nolint:contextcheck // the mistake under test
	}
	replaced := func(next link.Next) link.Next {
		return func(ctx context.Context, op *link.Operation) error { op.Request = "text"; return next(ctx, op) }
	}
	for _, tt := range []struct {
		name           string
		server, client link.Middleware
		// fail makes the handler fail.
		fail   bool
		code   link.Code
		text   string
		remote bool
		ran    bool
	}{
		{name: "server denies", server: deny, code: link.PermissionDenied, text: "not you", remote: true},
		{name: "client denies", client: deny, code: link.PermissionDenied, text: "not you"},
		{name: "server panics", server: panics, code: link.Internal, text: "the handler failed", remote: true},
		{name: "server hides an error", server: hide, fail: true, ran: true},
		{name: "client hides an error", client: hide, fail: true, ran: true},
		{name: "server changes to a foreign context", server: foreign, code: link.Internal, text: "not derived", remote: true},
		{name: "client changes to a foreign context", client: foreign, code: link.Internal, text: "not derived"},
		{name: "server replaces the request", server: replaced, code: link.Internal, text: "replaced the request by a string", remote: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				ran := false
				var server, client link.Config
				if tt.server != nil {
					server.ServerMiddleware = []link.Middleware{tt.server}
				}
				if tt.client != nil {
					client.ClientMiddleware = []link.Middleware{tt.client}
				}
				serve(mesh, server, func(_ context.Context, q query) (answer, error) {
					ran = true
					if tt.fail {
						return answer{}, link.NotFound
					}
					return answer(q), nil
				})
				_, err := reqrep.Call(t.Context(), mesh.Node(client), unsafeMethod, query{})
				if ran != tt.ran {
					t.Errorf("the handler ran: %v", ran)
				}
				if tt.code == 0 {
					if err != nil {
						t.Errorf("got %v", err)
					}
					return
				}
				var e *link.Error
				if !errors.As(err, &e) || e.Code != tt.code || e.Remote != tt.remote || !strings.Contains(e.Message, tt.text) {
					t.Errorf("got %v, want %v with %q, remote %v", err, tt.code, tt.text, tt.remote)
				}
			})
		})
	}
}

// TestMiddlewareRunsOncePerCall makes a call that takes two attempts.
func TestMiddlewareRunsOncePerCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var notes []string
		failing := true
		for range 2 {
			serve(mesh, link.Config{}, func(_ context.Context, q query) (answer, error) {
				if failing {
					failing = false
					return answer{}, link.Unavailable
				}
				return answer(q), nil
			})
		}
		client := mesh.Node(link.Config{ClientMiddleware: []link.Middleware{noting(&notes, "c")}})
		if _, err := reqrep.Call(t.Context(), client, readOnlyMethod, query{}); err != nil || failing {
			t.Fatal(err, failing)
		}
		if diff := cmp.Diff([]string{"c in", "c out"}, notes); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// unencodable panics or fails when it is encoded.
type unencodable struct{ How string }

func (u *unencodable) MarshalCBOR() ([]byte, error) {
	if u.How == "panic" {
		panic("kaboom") //nolint:forbidigo // under test
	}
	return nil, errors.New("no encoding")
}

func TestResponseThatCannotBeEncoded(t *testing.T) {
	odd := reqrep.NewMethod[query, *unencodable]("odd", "get", link.Unsafe)
	for _, how := range []string{"panic", "error"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				srv := mesh.Node(link.Config{Service: "odd"})
				reqrep.Handle(srv, odd, func(_ context.Context, q query) (*unencodable, error) { return &unencodable{q.Text}, nil })
				mesh.Start(srv)
				client := mesh.Node(link.Config{})
				for range 2 {
					if _, err := reqrep.Call(t.Context(), client, odd, query{how}); !errors.Is(err, link.Internal) {
						t.Errorf("got %v, want internal", err)
					}
				}
			})
		})
	}
}
