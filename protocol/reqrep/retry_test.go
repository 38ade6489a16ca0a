package reqrep_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// blocked returns a handler that counts its runs and waits until its context ends.
func blocked(runs *atomic.Int32) handlerFunc {
	return func(ctx context.Context, _ query) (answer, error) {
		runs.Add(1)
		<-ctx.Done()
		return answer{}, ctx.Err()
	}
}

// counted returns a handler that counts its runs.
func counted(runs *atomic.Int32) handlerFunc {
	return func(_ context.Context, q query) (answer, error) {
		runs.Add(1)
		return answer(q), nil
	}
}

// TestConnectionLostDuringACall ends the first of two instances while it runs
// the call.
func TestConnectionLostDuringACall(t *testing.T) {
	for how, end := range map[string]func(t *testing.T, mesh *linktest.Mesh, node *link.Node){
		"closed": func(t *testing.T, _ *linktest.Mesh, node *link.Node) {
			t.Helper()
			if err := node.Close(); err != nil {
				t.Error(err)
			}
		},
		"killed": func(_ *testing.T, mesh *linktest.Mesh, node *link.Node) { mesh.Kill(node) },
	} {
		for _, tt := range []struct {
			name   string
			method reqrep.Method[query, answer]
			opts   []link.CallOption
			again  bool
		}{
			{"unsafe", unsafeMethod, nil, false},
			{"read-only", readOnlyMethod, nil, true},
			{"unsafe with a key", unsafeMethod, []link.CallOption{link.IdempotencyKey("k-1")}, true},
		} {
			t.Run(how+"/"+tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					mesh := linktest.NewMesh(t)
					var first, second atomic.Int32
					var key string
					a := serve(mesh, link.Config{}, blocked(&first))
					client := mesh.Node(link.Config{Limits: link.Limits{CallTimeout: 30 * time.Second}})
					result := make(chan error, 1)
					begin := time.Now()
					go func() {
						_, err := reqrep.Call(t.Context(), client, tt.method, query{}, tt.opts...)
						result <- err
					}()
					sleep(time.Second)
					serve(mesh, link.Config{}, func(ctx context.Context, q query) (answer, error) {
						key = link.IdempotencyKeyOf(ctx)
						return counted(&second)(ctx, q)
					})
					end(t, mesh, a)
					err := <-result
					took := time.Since(begin)
					if took > 9*time.Second {
						t.Errorf("the call learned of it after %v", took)
					}
					if first.Load() != 1 {
						t.Errorf("the first instance ran the call %d times", first.Load())
					}
					if tt.again {
						if err != nil || second.Load() != 1 {
							t.Errorf("got %v, the second instance ran the call %d times, want success by one run", err, second.Load())
						}
						if len(tt.opts) > 0 && key != "k-1" {
							t.Errorf("the second instance saw key %q", key)
						}
						return
					}
					var e *link.Error
					if !errors.As(err, &e) || e.Code != link.Unavailable || !strings.Contains(err.Error(), a.Instance()) {
						t.Errorf("got %v, want unavailable that names %s", err, a.Instance())
					}
					if second.Load() != 0 {
						t.Errorf("an unsafe call was sent again")
					}
					if _, err := reqrep.Call(t.Context(), client, tt.method, query{}); err != nil || second.Load() != 1 {
						t.Errorf("the next call: %v, ran %d times", err, second.Load())
					}
				})
			})
		}
	}
}

func TestRefusedCallGoesElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		one := link.Config{Limits: link.Limits{CallsPerProcess: 1}}
		var first, second atomic.Int32
		serve(mesh, one, blocked(&first))
		client := mesh.Node(link.Config{Limits: link.Limits{CallTimeout: time.Minute}})
		result := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			_, err := reqrep.Call(ctx, client, unsafeMethod, query{})
			result <- err
		}()
		sleep(time.Second)
		if _, err := reqrep.Call(t.Context(), client, unsafeMethod, query{}); !errors.Is(err, link.ResourceExhausted) {
			t.Errorf("with one busy instance: %v, want resource exhausted", err)
		}
		serve(mesh, link.Config{}, counted(&second))
		// The client must know the new instance first.
		synctest.Wait()
		// The choice is random: some of these calls meet the busy instance first.
		for range 20 {
			if _, err := reqrep.Call(t.Context(), client, unsafeMethod, query{}); err != nil {
				t.Errorf("with an idle instance beside it: %v", err)
			}
		}
		if first.Load() != 1 || second.Load() != 20 {
			t.Errorf("the instances ran %d and %d calls, want 1 and 20", first.Load(), second.Load())
		}
		cancel()
		if err := <-result; !errors.Is(err, link.Canceled) {
			t.Errorf("the call that kept the first busy: %v", err)
		}
	})
}

func TestUnavailableHandlerIsLeftForAnother(t *testing.T) {
	for _, tt := range []struct {
		name   string
		method reqrep.Method[query, answer]
		code   link.Code
		// after is the Error.RetryAfter of the handler.
		after time.Duration
		runs  int32
	}{
		{"read-only", readOnlyMethod, link.Unavailable, 0, 3},
		{"read-only with RetryAfter", readOnlyMethod, link.Unavailable, 2 * time.Second, 3},
		{"unsafe", unsafeMethod, link.Unavailable, 0, 1},
		{"read-only with another code", readOnlyMethod, link.Aborted, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				var runs atomic.Int32
				for range 5 {
					serve(mesh, link.Config{}, func(context.Context, query) (answer, error) {
						runs.Add(1)
						return answer{}, &link.Error{Code: tt.code, Message: "not now", RetryAfter: tt.after}
					})
				}
				begin := time.Now()
				_, err := reqrep.Call(t.Context(), mesh.Node(link.Config{}), tt.method, query{})
				var e *link.Error
				if !errors.As(err, &e) || e.Code != tt.code || !e.Remote || e.Attempt != int(tt.runs) {
					t.Errorf("got %v, want %v after %d attempts", err, tt.code, tt.runs)
				}
				if runs.Load() != tt.runs {
					t.Errorf("the call ran %d times, want %d", runs.Load(), tt.runs)
				}
				if took, least := time.Since(begin), tt.after*time.Duration(tt.runs-1); took < least || took > least+time.Second {
					t.Errorf("the call took %v, want %v and a little", took, least)
				}
			})
		})
	}
}

// TestRetriesKeepToTheirBudget makes many calls during an outage.
func TestRetriesKeepToTheirBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		const calls = 2000
		var runs atomic.Int32
		for range 3 {
			serve(mesh, link.Config{}, func(context.Context, query) (answer, error) {
				runs.Add(1)
				return answer{}, link.Unavailable
			})
		}
		client := mesh.Node(link.Config{})
		begin := time.Now()
		for range calls {
			if _, err := reqrep.Call(t.Context(), client, readOnlyMethod, query{}); !errors.Is(err, link.Unavailable) {
				t.Fatal(err)
			}
		}
		// The budget is a fifth of the calls. Three tenths leave room, since calls are counted by a sample.
		most := calls + calls*3/10 + 10 + int(10*time.Since(begin).Seconds()) + 1
		if got := int(runs.Load()); got > most || got <= calls {
			t.Errorf("%d calls became %d runs, want some more, at most %d", calls, got, most)
		}
	})
}

// TestRetryEndsWithTheDeadline gives a call less time than its retries want.
func TestRetryEndsWithTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var runs atomic.Int32
		for range 3 {
			serve(mesh, link.Config{}, func(context.Context, query) (answer, error) {
				runs.Add(1)
				return answer{}, &link.Error{Code: link.Unavailable, RetryAfter: 20 * time.Second}
			})
		}
		begin := time.Now()
		_, err := reqrep.Call(t.Context(), mesh.Node(link.Config{}), readOnlyMethod, query{})
		if !errors.Is(err, link.Unavailable) || time.Since(begin) != 0 || runs.Load() != 1 {
			t.Errorf("got %v after %v and %d runs, want unavailable at once: there is no time to wait", err, time.Since(begin), runs.Load())
		}
	})
}
