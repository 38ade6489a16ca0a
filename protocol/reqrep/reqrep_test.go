package reqrep_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

func TestCallIsTyped(t *testing.T) {
	type line struct {
		Item  string
		Count int
	}
	type cart struct {
		Lines []line
		Notes map[string]string
		Paid  *time.Time
		Raw   []byte
	}
	paid := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	mirror := reqrep.NewMethod[cart, *cart]("carts", "mirror", link.Unsafe)
	count := reqrep.NewMethod[[]line, int]("carts", "count", link.ReadOnly)
	nothing := reqrep.NewMethod[struct{}, struct{}]("carts", "nothing", link.ReadOnly)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		srv := mesh.Node(link.Config{Service: "carts"})
		reqrep.Handle(srv, mirror, func(_ context.Context, c cart) (*cart, error) { return &c, nil })
		reqrep.Handle(srv, count, func(_ context.Context, l []line) (int, error) { return len(l), nil })
		reqrep.Handle(srv, nothing, func(context.Context, struct{}) (struct{}, error) { return struct{}{}, nil })
		mesh.Start(srv)
		client := mesh.Node(link.Config{})

		want := cart{Lines: []line{{"pen", 3}}, Notes: map[string]string{"gift": "yes"}, Paid: &paid, Raw: []byte{0, 1}}
		got, err := reqrep.Call(t.Context(), client, mirror, want)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if got, err := reqrep.Call(t.Context(), client, count, []line{{}, {}}); err != nil || got != 2 {
			t.Errorf("count: %d, %v, want 2", got, err)
		}
		if _, err := reqrep.Call(t.Context(), client, nothing, struct{}{}); err != nil {
			t.Errorf("nothing: %v", err)
		}
	})
}

func TestMethodsAreComparableValues(t *testing.T) {
	again := reqrep.NewMethod[query, answer]("orders", "get", link.ReadOnly)
	if again != readOnlyMethod {
		t.Error("two declarations of the same method differ")
	}
	if got := again.String(); got != "orders/get" {
		t.Errorf("String is %q", got)
	}
	want := link.Route{Service: "orders", Name: "get", Kind: link.KindMethod, Level: link.ReadOnly}
	if got := again.Route(); got != want {
		t.Errorf("Route is %+v, want %+v", got, want)
	}
	timed := reqrep.NewMethod[query, answer]("orders", "get", link.Timeout(time.Second), link.ReadOnly)
	if timed == again || timed != reqrep.NewMethod[query, answer]("orders", "get", link.ReadOnly, link.Timeout(time.Second)) {
		t.Errorf("%#v is compared without its timeout", timed)
	}
	if want.Timeout = time.Second; timed.Route() != want {
		t.Errorf("Route is %#v, want %#v", timed.Route(), want)
	}
}

// TestAMethodWithoutALevelIsUnsafe checks that a method that says nothing about itself is treated with the most care.
func TestAMethodWithoutALevelIsUnsafe(t *testing.T) {
	if got := reqrep.NewMethod[query, answer]("orders", "change"); got != unsafeMethod {
		t.Errorf("a method without a level is %#v, want %#v", got, unsafeMethod)
	}
	if got := reqrep.NewMethod[query, answer]("orders", "change", link.Timeout(time.Second)).Route().Level; got != link.Unsafe {
		t.Errorf("a method with nothing but a timeout is %v", got)
	}
}

func TestCallSaysWhoAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		srv := serve(mesh, link.Config{Tags: []string{"v2"}}, func(_ context.Context, q query) (answer, error) {
			if q.Text == "" {
				return answer{}, link.InvalidArgument
			}
			return answer(q), nil
		})
		client := mesh.Node(link.Config{})
		for _, text := range []string{"a reply", ""} {
			var who link.Peer
			// An error counts as an answer, too.
			_, _ = reqrep.Call(t.Context(), client, unsafeMethod, query{text}, link.AnsweredBy(&who))
			if who.Instance != srv.Instance() || who.Identity != srv.Identity() || who.Addr != srv.Addr() || len(who.Tags) != 1 || who.Tags[0] != "v2" {
				t.Errorf("call with %q was answered by %+v, want %s", text, who, srv.Instance())
			}
			if who.TLS != "TLS 1.3" || who.KeyExchange == "" {
				t.Errorf("the connection is %q with %q, want TLS 1.3 with a key exchange", who.TLS, who.KeyExchange)
			}
		}
		who := link.Peer{Instance: "before"}
		missing := reqrep.NewMethod[query, answer]("nobody", "get", link.ReadOnly)
		if _, err := reqrep.Call(t.Context(), client, missing, query{}, link.AnsweredBy(&who)); err == nil || who.Instance != "before" {
			t.Errorf("a call that nobody answered: %v, by %+v", err, who)
		}
	})
}

func TestHandlerKnowsItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var caller link.Peer
		var route link.Route
		serve(mesh, link.Config{}, func(ctx context.Context, q query) (answer, error) {
			caller, route = link.Caller(ctx), link.RouteOf(ctx)
			return answer(q), nil
		})
		client := mesh.Node(link.Config{Service: "gateway", Tags: []string{"edge"}})
		if _, err := reqrep.Call(t.Context(), client, unsafeMethod, query{}); err != nil {
			t.Fatal(err)
		}
		if caller.Service() != "gateway" || caller.Identity != client.Identity() || caller.Instance != client.Instance() ||
			len(caller.Tags) != 1 || caller.Tags[0] != "edge" || caller.Addr != "10.0.0.2:7443" {
			t.Errorf("caller is %+v", caller)
		}
		if route != unsafeMethod.Route() {
			t.Errorf("route is %+v, want %+v", route, unsafeMethod.Route())
		}
	})
	if got := link.Caller(t.Context()); got.String() != "" {
		t.Errorf("outside a handler the caller is %v", got)
	}
}

func TestUnknownServiceFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		client := mesh.Node(link.Config{Namespace: "staging"})
		begin := time.Now()
		_, err := reqrep.Call(t.Context(), client, readOnlyMethod, query{})
		if !errors.Is(err, link.Unavailable) || time.Since(begin) != 0 {
			t.Errorf("got %v after %v, want unavailable at once", err, time.Since(begin))
		}
		for _, part := range []string{`"orders"`, `"staging"`, "static registry"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("error %q does not name %s", err, part)
			}
		}
	})
}

func TestUnknownMethodIsUnimplemented(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		srv := serve(mesh, link.Config{}, echo)
		client := mesh.Node(link.Config{})
		missing := reqrep.NewMethod[query, answer]("orders", "cancel", link.ReadOnly)
		for _, size := range []int{0, 100 << 10} {
			_, err := reqrep.Call(t.Context(), client, missing, query{strings.Repeat("x", size)})
			var e *link.Error
			if !errors.As(err, &e) || e.Code != link.Unimplemented || !e.Remote {
				t.Fatalf("request of %d bytes: %v, want unimplemented from the server", size, err)
			}
			if !strings.Contains(err.Error(), "orders/cancel") || !strings.Contains(err.Error(), srv.Instance()) {
				t.Errorf("error %q does not name route and instance", err)
			}
		}
		if _, err := reqrep.Call(t.Context(), client, readOnlyMethod, query{}); err != nil {
			t.Errorf("the next call: %v", err)
		}
	})
}

func TestMethodAddedWhileServing(t *testing.T) {
	late := reqrep.NewMethod[query, answer]("orders", "late", link.ReadOnly)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		srv := serve(mesh, link.Config{}, echo)
		client := mesh.Node(link.Config{})
		if _, err := reqrep.Call(t.Context(), client, late, query{}); !errors.Is(err, link.Unimplemented) {
			t.Fatalf("before Handle: %v, want unimplemented", err)
		}
		reqrep.Handle(srv, late, echo)
		// The first call names the route, and the second one uses its number.
		for range 2 {
			if _, err := reqrep.Call(t.Context(), client, late, query{}); err != nil {
				t.Errorf("after Handle: %v", err)
			}
			sleep(time.Second)
		}
	})
}

func TestHandlePanicsOnMistakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := mesh.Node(link.Config{Service: "orders"})
		reqrep.Handle(node, readOnlyMethod, echo)
		for _, tt := range []struct {
			name   string
			method reqrep.Method[query, answer]
			opts   []link.HandleOption
			// want is part of the text of the panic.
			want string
		}{
			{"twice", readOnlyMethod, nil, "has a handler already"},
			{"another service", reqrep.NewMethod[query, answer]("carts", "get", link.ReadOnly), nil, `belongs to service "carts", but this node serves "orders"`},
			{"bad name", reqrep.NewMethod[query, answer]("orders", "a b", link.ReadOnly), nil, `Route.Name is "a b"`},
			{"bad level", reqrep.NewMethod[query, answer]("orders", "x", link.Idempotency(9)), nil, "Route.Level of orders/x is 9"},
			{"negative timeout", reqrep.NewMethod[query, answer]("orders", "x", link.Timeout(-time.Second)), nil, "Route.Timeout of orders/x is -1s, want 0 to 24h0m0s"},
			{"absurd timeout", reqrep.NewMethod[query, answer]("orders", "x", link.Timeout(25*time.Hour)), nil, "Route.Timeout of orders/x is 25h0m0s"},
			{"negative limit", unsafeMethod, []link.HandleOption{link.MaxMessage(-1)}, "MaxMessage of orders/change is -1"},
			{"huge limit", unsafeMethod, []link.HandleOption{link.MaxMessage(1 << 30)}, "MaxMessage of orders/change is 1073741824"},
		} {
			func() {
				defer func() {
					err, ok := recover().(error)
					if !ok || !strings.Contains(err.Error(), tt.want) {
						t.Errorf("%s: panic is %v, want %q", tt.name, err, tt.want)
					}
				}()
				reqrep.Handle(node, tt.method, echo, tt.opts...)
			}()
		}
		for name, handle := range map[string]func(){
			"the handler of orders/change is nil":           func() { reqrep.Handle[query, answer](node, unsafeMethod, nil) },
			"and this node serves none: set Config.Service": func() { reqrep.Handle(mesh.Node(link.Config{}), unsafeMethod, echo) },
		} {
			func() {
				defer func() {
					if err, ok := recover().(error); !ok || !strings.Contains(err.Error(), name) {
						t.Errorf("panic is %v, want %q", err, name)
					}
				}()
				handle()
			}()
		}
	})
}

func TestRequestOfAnotherShape(t *testing.T) {
	type number struct{ Text int }
	wrong := reqrep.NewMethod[number, answer]("orders", "get", link.ReadOnly)
	wrongReply := reqrep.NewMethod[query, number]("orders", "get", link.ReadOnly)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ran := 0
		serve(mesh, link.Config{}, func(_ context.Context, q query) (answer, error) { ran++; return answer(q), nil })
		client := mesh.Node(link.Config{})
		if _, err := reqrep.Call(t.Context(), client, wrong, number{7}); !errors.Is(err, link.InvalidArgument) || ran != 0 {
			t.Errorf("request: %v, handler ran %d times, want invalid argument and 0", err, ran)
		}
		if _, err := reqrep.Call(t.Context(), client, wrongReply, query{"seven"}); !errors.Is(err, link.Internal) || !strings.Contains(err.Error(), "decoding the reply") {
			t.Errorf("reply: %v, want internal", err)
		}
	})
}
