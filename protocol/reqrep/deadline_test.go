package reqrep_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// ending is how a handler saw its context end.
type ending struct {
	// after is the time since the handler began.
	after time.Duration
	err   error
	cause error
}

// untilEnd returns a handler that waits for its context to end and sends to ends how it ended.
func untilEnd(ends chan<- ending) handlerFunc {
	return func(ctx context.Context, _ query) (answer, error) {
		begin := time.Now()
		<-ctx.Done()
		ends <- ending{time.Since(begin), ctx.Err(), context.Cause(ctx)}
		return answer{}, ctx.Err()
	}
}

func TestDeadlineOfACall(t *testing.T) {
	const delay = 50 * time.Millisecond
	for _, tt := range []struct {
		name string
		// config is Config.Limits.CallTimeout, and ctx the timeout of the context. 0 means none.
		config time.Duration
		ctx    time.Duration
		want   time.Duration
	}{
		{"none given", 0, 0, 10 * time.Second},
		{"of the node", 3 * time.Second, 0, 3 * time.Second},
		{"of the context, earlier", 0, 2 * time.Second, 2 * time.Second},
		{"of the context, later", 3 * time.Second, 25 * time.Second, 25 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(delay))
				left := make(chan time.Duration, 1)
				serve(mesh, link.Config{}, func(ctx context.Context, _ query) (answer, error) {
					d, ok := ctx.Deadline()
					if !ok {
						t.Error("the handler's context has no deadline")
					}
					left <- time.Until(d)
					<-ctx.Done()
					return answer{}, nil
				})
				client := mesh.Node(link.Config{Limits: link.Limits{CallTimeout: tt.config}})
				if _, err := client.Instances(t.Context(), "orders"); err != nil {
					t.Fatal(err)
				}
				ctx := t.Context()
				if tt.ctx > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.ctx)
					defer cancel()
				}
				begin := time.Now()
				_, err := reqrep.Call(ctx, client, unsafeMethod, query{})
				if took := time.Since(begin); took != tt.want {
					t.Errorf("the call took %v, want %v", took, tt.want)
				}
				var e *link.Error
				if !errors.As(err, &e) || e.Code != link.DeadlineExceeded || e.Remote || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v, want deadline exceeded, decided here", err)
				}
				if !strings.Contains(err.Error(), "while waiting for the reply: context deadline exceeded; the call may have run") && tt.ctx > 0 ||
					!strings.Contains(err.Error(), "the call may have run") {
					t.Errorf("%q does not say what was waited for, and that the call may have run", err)
				}
				// The handshake took a round trip, and SETUP one way. The request was
				// sent then, with the time that was left at that moment.
				connected := 4 * delay
				if got := <-left; got > tt.want-delay || got < tt.want-connected {
					t.Errorf("the handler had %v left of %v, want what was left when the request was sent", got, tt.want)
				}
			})
		})
	}
}

func TestServerCapsTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ends := make(chan ending, 1)
		serve(mesh, link.Config{Limits: link.Limits{MaxCallTime: 2 * time.Second}}, untilEnd(ends))
		_, err := reqrep.Call(t.Context(), mesh.Node(link.Config{}), unsafeMethod, query{})
		var e *link.Error
		if !errors.As(err, &e) || e.Code != link.DeadlineExceeded || !e.Remote {
			t.Errorf("got %v, want deadline exceeded from the server", err)
		}
		end := <-ends
		if end.after != 2*time.Second || !errors.Is(end.err, context.DeadlineExceeded) || !errors.Is(end.cause, link.ErrDeadline) {
			t.Errorf("the handler's context ended with %+v, want ErrDeadline after 2s", end)
		}
	})
}

func TestCallWithoutTimeLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ran := false
		serve(mesh, link.Config{}, func(context.Context, query) (answer, error) { ran = true; return answer{}, nil })
		client := mesh.Node(link.Config{})
		late, cancel := context.WithDeadline(t.Context(), time.Now())
		defer cancel()
		if _, err := reqrep.Call(late, client, unsafeMethod, query{}); !errors.Is(err, link.DeadlineExceeded) {
			t.Errorf("after the deadline: %v", err)
		}
		gone, cancelCause := context.WithCancelCause(t.Context())
		cancelCause(errSecret)
		if _, err := reqrep.Call(gone, client, unsafeMethod, query{}); !errors.Is(err, link.Canceled) || !errors.Is(err, errSecret) {
			t.Errorf("after cancel: %v, want canceled with the cause", err)
		}
		if ran {
			t.Error("the handler ran")
		}
	})
}

func TestHandlerThatOverrunsItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		serve(mesh, link.Config{}, func(_ context.Context, q query) (answer, error) {
			if q.Text == "slow" {
				sleep(time.Minute)
			}
			return answer(q), nil
		})
		client := mesh.Node(link.Config{})
		for range 3 {
			begin := time.Now()
			if _, err := reqrep.Call(t.Context(), client, unsafeMethod, query{"slow"}); !errors.Is(err, link.DeadlineExceeded) || time.Since(begin) != 10*time.Second {
				t.Errorf("got %v after %v, want deadline exceeded after 10s", err, time.Since(begin))
			}
			if got, err := reqrep.Call(t.Context(), client, unsafeMethod, query{"fast"}); err != nil || got.Text != "fast" {
				t.Errorf("the next call: %+v, %v", got, err)
			}
		}
		// Let the handlers return: Close does not wait for them without a bound.
		sleep(time.Minute)
	})
}

func TestCancelReachesTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ends := make(chan ending, 1)
		serve(mesh, link.Config{}, untilEnd(ends))
		client := mesh.Node(link.Config{})
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(errSecret) })
		begin := time.Now()
		_, err := reqrep.Call(ctx, client, unsafeMethod, query{})
		if took := time.Since(begin); took != time.Second {
			t.Errorf("the call took %v, want to end when it is canceled", took)
		}
		if !errors.Is(err, link.Canceled) || !errors.Is(err, context.Canceled) || !errors.Is(err, errSecret) {
			t.Errorf("got %v, want canceled with the cause of the context", err)
		}
		if end := <-ends; !errors.Is(end.err, context.Canceled) || !errors.Is(end.cause, link.ErrCallerGone) {
			t.Errorf("the handler's context ended with %+v, want ErrCallerGone", end)
		}
	})
}

func TestHandlerLearnsThatItsCallerClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ends := make(chan ending, 1)
		serve(mesh, link.Config{}, untilEnd(ends))
		client := mesh.Node(link.Config{})
		failed := make(chan error, 1)
		go func() {
			_, err := reqrep.Call(context.Background(), client, unsafeMethod, query{})
			failed <- err
		}()
		sleep(time.Second)
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		if err := <-failed; !errors.Is(err, link.Unavailable) {
			t.Errorf("call of a node that closes: %v, want unavailable", err)
		}
		if end := <-ends; end.after != time.Second || !errors.Is(end.cause, link.ErrCallerGone) {
			t.Errorf("the handler's context ended with %+v, want ErrCallerGone after 1s", end)
		}
	})
}

// TestContextOfAHandlerIsAContext checks that the context does what the context
// package and its users expect, no matter how it is used first.
func TestContextOfAHandlerIsAContext(t *testing.T) {
	type key struct{}
	for name, watch := range map[string]func(ctx context.Context, ended chan<- error){
		"Done": func(ctx context.Context, ended chan<- error) {
			go func() { <-ctx.Done(); ended <- context.Cause(ctx) }()
		},
		"AfterFunc": func(ctx context.Context, ended chan<- error) {
			context.AfterFunc(ctx, func() { ended <- context.Cause(ctx) })
		},
		"WithCancel": func(ctx context.Context, ended chan<- error) {
			child, cancel := context.WithCancel(ctx)
			go func() { defer cancel(); <-child.Done(); ended <- context.Cause(child) }()
		},
		"WithValue and WithTimeout": func(ctx context.Context, ended chan<- error) {
			child, cancel := context.WithTimeout(context.WithValue(ctx, key{}, 1), time.Hour)
			go func() { defer cancel(); <-child.Done(); ended <- context.Cause(child) }()
		},
		"nothing until it is over": func(ctx context.Context, ended chan<- error) {
			go func() {
				for ctx.Err() == nil {
					sleep(10 * time.Millisecond)
				}
				ended <- context.Cause(ctx)
			}()
		},
	} {
		for _, how := range []struct {
			name string
			call func(ctx context.Context, client *link.Node) error
			// end makes the handler wait for the end of its context.
			end  bool
			want error
		}{
			{"canceled", func(ctx context.Context, client *link.Node) error {
				ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
				defer cancel()
				time.AfterFunc(time.Second, cancel)
				_, err := reqrep.Call(ctx, client, unsafeMethod, query{})
				return err
			}, true, link.ErrCallerGone},
			{"out of time", func(ctx context.Context, client *link.Node) error {
				_, err := reqrep.Call(ctx, client, unsafeMethod, query{})
				return err
			}, true, link.ErrDeadline},
			{"finished", func(ctx context.Context, client *link.Node) error {
				_, err := reqrep.Call(ctx, client, unsafeMethod, query{})
				return err
			}, false, link.ErrFinished},
		} {
			t.Run(name+"/"+how.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					mesh := linktest.NewMesh(t)
					ended := make(chan error, 1)
					serve(mesh, link.Config{Limits: link.Limits{MaxCallTime: 5 * time.Second}}, func(ctx context.Context, q query) (answer, error) {
						watch(ctx, ended)
						if ctx.Value(key{}) != nil || ctx.Value("x") != nil {
							t.Error("the context has values that nobody set")
						}
						if how.end {
							err := <-ended
							ended <- err
							return answer{}, ctx.Err()
						}
						return answer(q), nil
					})
					err := how.call(t.Context(), mesh.Node(link.Config{}))
					if (err != nil) != how.end {
						t.Errorf("the call: %v", err)
					}
					if cause := <-ended; !errors.Is(cause, how.want) {
						t.Errorf("the context ended with cause %v, want %v", cause, how.want)
					}
				})
			})
		}
	}
}

func TestContextKeptBeyondItsHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var kept context.Context
		serve(mesh, link.Config{}, func(ctx context.Context, q query) (answer, error) {
			kept = ctx //nolint:fatcontext // the mistake under test
			return answer(q), nil
		})
		if _, err := reqrep.Call(t.Context(), mesh.Node(link.Config{}), unsafeMethod, query{}); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(kept.Err(), context.Canceled) {
			t.Errorf("Err is %v, want canceled", kept.Err())
		}
		if cause := context.Cause(kept); !errors.Is(cause, link.ErrFinished) {
			t.Errorf("the cause is %v, want ErrFinished", cause)
		}
		<-kept.Done()
		child, cancel := context.WithCancel(kept)
		defer cancel()
		if child.Err() == nil {
			t.Error("a child of a context that has ended has not")
		}
	})
}
