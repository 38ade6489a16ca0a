package reqrep_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

func TestMiddlewareThatRetries(t *testing.T) {
	for _, tt := range []struct {
		name string
		// code is the error of the first attempt.
		code link.Code
		// change makes middleware change the request for the second attempt.
		change bool
		// want lists the requests that the handlers see.
		want []string
	}{
		{"same request", link.Unavailable, false, []string{"first", "first"}},
		{"changed request", link.Unauthenticated, true, []string{"first", "second"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				var mu sync.Mutex
				var seen []string
				// An instance that failed once must remain eligible.
				for range 2 {
					serve(mesh, link.Config{}, func(_ context.Context, q query) (answer, error) {
						mu.Lock()
						defer mu.Unlock()
						if seen = append(seen, q.Text); len(seen) == 1 {
							return answer{}, link.Errorf(tt.code, "not at the first try")
						}
						return answer(q), nil
					})
				}
				again := func(next link.Next) link.Next {
					return func(ctx context.Context, op *link.Operation) error {
						err := next(ctx, op)
						if errors.Is(err, tt.code) {
							if tt.change {
								op.Request = &query{"second"}
							}
							err = next(ctx, op)
						}
						return err
					}
				}
				client := mesh.Node(link.Config{ClientMiddleware: []link.Middleware{again}})
				got, err := reqrep.Call(t.Context(), client, unsafeMethod, query{"first"})
				if err != nil || got.Text != tt.want[1] {
					t.Errorf("got %+v, %v, want the reply to %q", got, err, tt.want[1])
				}
				if diff := cmp.Diff(tt.want, seen); diff != "" {
					t.Errorf("the handlers saw (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestMiddlewareThatDoesNotWaitForNext has middleware give up on calls that go on
// while other calls are made, and expects their messages not to mix.
func TestMiddlewareThatDoesNotWaitForNext(t *testing.T) {
	const callers, calls, size = 4, 8, 200 << 10
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(2*time.Millisecond))
		var whole atomic.Int32
		serve(mesh, link.Config{}, func(_ context.Context, q query) (answer, error) {
			if len(q.Text) != size || strings.Count(q.Text, q.Text[:1]) != size {
				t.Errorf("a request of %d bytes holds bytes of another", len(q.Text))
			}
			whole.Add(1)
			return answer{}, nil
		})
		var left sync.WaitGroup
		impatient := func(next link.Next) link.Next {
			return func(ctx context.Context, op *link.Operation) error {
				done := make(chan error, 1)
				left.Go(func() { done <- next(ctx, op) })
				select {
				case err := <-done:
					return err
				// 3 ms is less than a round trip.
				case <-time.After(3 * time.Millisecond):
					return link.Errorf(link.DeadlineExceeded, "too slow for the middleware")
				}
			}
		}
		client := mesh.Node(link.Config{ClientMiddleware: []link.Middleware{impatient}, Limits: link.Limits{CallTimeout: time.Minute}})
		var wg sync.WaitGroup
		for caller := range callers {
			wg.Go(func() {
				for i := range calls {
					text := strings.Repeat(string(rune('a'+(caller*calls+i)%26)), size)
					if _, err := reqrep.Call(t.Context(), client, unsafeMethod, query{text}); !errors.Is(err, link.DeadlineExceeded) {
						t.Errorf("got %v, want the error of the middleware", err)
					}
				}
			})
		}
		wg.Wait()
		left.Wait()
		if got := whole.Load(); got != callers*calls {
			t.Errorf("%d requests arrived, want %d", got, callers*calls)
		}
	})
}
