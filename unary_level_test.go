package link_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// TestTheMoreCarefulLevelOfAMethodCounts checks that a call runs again only if both the caller and the server allow it.
func TestTheMoreCarefulLevelOfAMethodCounts(t *testing.T) {
	for _, test := range []struct{ served, called, want link.Idempotency }{
		{link.Unsafe, link.ReadOnly, link.Unsafe},
		{link.Unsafe, link.Idempotent, link.Unsafe},
		{link.Idempotent, link.ReadOnly, link.Idempotent},
		{link.ReadOnly, link.Unsafe, link.Unsafe},
		{link.ReadOnly, link.ReadOnly, link.ReadOnly},
	} {
		t.Run(test.served.String()+" called as "+test.called.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				srv := mesh.Node(link.Config{Service: "orders"})
				var failing atomic.Bool
				var runs atomic.Int32
				reqrep.Handle(srv, reqrep.NewMethod[order, order]("orders", "put", test.served), func(_ context.Context, o order) (order, error) {
					if runs.Add(1); failing.Load() {
						return o, link.Errorf(link.Unavailable, "a bad time")
					}
					return o, nil
				})
				mesh.Start(srv)
				log := &logBuffer{}
				client := mesh.Node(link.Config{Logger: log.logger()})
				method := reqrep.NewMethod[order, order]("orders", "put", test.called)
				if _, err := reqrep.Call(t.Context(), client, method, order{}); err != nil {
					t.Fatal(err)
				}
				// The client must know the routes of the server.
				synctest.Wait()
				failing.Store(true)
				want := int32(1)
				if test.want != link.Unsafe {
					want = 3
				}
				for range 2 {
					runs.Store(0)
					if _, err := reqrep.Call(t.Context(), client, method, order{}); !errors.Is(err, link.Unavailable) {
						t.Error(err)
					}
					if got := runs.Load(); got != want {
						t.Errorf("the call ran %d times, want %d", got, want)
					}
				}
				// said is 1 if the caller's level is higher than the server's, and 0 otherwise.
				said := min(test.called, test.served+1) - min(test.called, test.served)
				if got := strings.Count(log.String(), "declare different levels"); got != int(said) {
					t.Errorf("said %d times, want %d:\n%s", got, said, log)
				}
			})
		})
	}
}

// TestMiddlewareKnowsWhichAttemptItSees checks Operation.Attempt on both sides.
func TestMiddlewareKnowsWhichAttemptItSees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var served []int
		srv := mesh.Node(link.Config{Service: "orders", ServerMiddleware: []link.Middleware{func(next link.Next) link.Next {
			return func(ctx context.Context, op *link.Operation) error {
				if served = append(served, op.Attempt); len(served) < 3 {
					return link.Errorf(link.Unavailable, "a bad time")
				}
				return next(ctx, op)
			}
		}}})
		reqrep.Handle(srv, readOrder, keep)
		mesh.Start(srv)
		made := 0
		client := mesh.Node(link.Config{ClientMiddleware: []link.Middleware{func(next link.Next) link.Next {
			return func(ctx context.Context, op *link.Operation) error {
				if op.Attempt != 0 {
					t.Errorf("attempt %d before the call", op.Attempt)
				}
				err := next(ctx, op)
				made = op.Attempt
				return err
			}
		}}})
		if _, err := reqrep.Call(t.Context(), client, readOrder, order{}); err != nil {
			t.Fatal(err)
		}
		if len(served) != 3 || served[0] != 1 || served[1] != 2 || served[2] != 3 || made != 3 {
			t.Errorf("the server saw attempts %v, the client made %d; want 1, 2, 3 and 3", served, made)
		}
	})
}
