package reqrep_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/internal/trace"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// isPanicsError is an error whose Is panics.
type isPanicsError struct{}

func (isPanicsError) Error() string { return "panics in Is" }
func (isPanicsError) Is(error) bool { panic("in Is") } //nolint:forbidigo // under test

// textPanicsError is an error that cannot print itself when it is a nil pointer.
type textPanicsError struct{ text string }

func (p *textPanicsError) Error() string { return p.text }

func panickingErrors() map[string]error {
	return map[string]error{
		"nil *link.Error in an interface": (*link.Error)(nil),
		"wrapped nil *link.Error":         wrapped{(*link.Error)(nil)},
		"panic in Is":                     isPanicsError{},
		"panic in Error":                  (*textPanicsError)(nil),
	}
}

func TestErrorsThatPanicEndOneCall(t *testing.T) {
	for name, failure := range panickingErrors() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				serve(mesh, link.Config{}, func(_ context.Context, q query) (answer, error) {
					if q.Text == "fail" {
						return answer{}, failure
					}
					return answer(q), nil
				})
				client := mesh.Node(link.Config{})
				_, err := reqrep.Call(t.Context(), client, unsafeMethod, query{"fail"})
				var e *link.Error
				if !errors.As(err, &e) || e.Code != link.Internal || !e.Remote || e.ID == "" {
					t.Errorf("got %v, want internal with an ID, from the server", err)
				}
				if got, err := reqrep.Call(t.Context(), client, unsafeMethod, query{"fine"}); err != nil || got.Text != "fine" {
					t.Errorf("the next call: %+v, %v", got, err)
				}
			})
		})
	}
}

// TestNoErrorEndsTheProcess has handlers, Authorize and OnDrain return errors whose methods panic.
// Traces call these methods, too, and a caller decides whether there is a trace.
func TestNoErrorEndsTheProcess(t *testing.T) {
	route := link.Route{Service: "orders", Name: "watch", Kind: link.KindChannel}
	guarded := link.Route{Service: "orders", Name: "guarded", Kind: link.KindChannel}
	for name, failure := range panickingErrors() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				node := mesh.Node(link.Config{Service: "orders"})
				reqrep.Handle(node, unsafeMethod, func(_ context.Context, q query) (answer, error) {
					if q.Text == "fail" {
						return answer{}, failure
					}
					return answer(q), nil
				})
				link.HostOf(node).Handle(route, func(context.Context, *link.Stream) error { return failure })
				link.HostOf(node).Handle(guarded, func(context.Context, *link.Stream) error { return nil }, link.Authorize(func(link.Peer) error { return failure }))
				node.OnDrain(func(context.Context) error { return failure })
				mesh.Start(node)
				client := mesh.Node(link.Config{})
				ctx, _ := trace.New(nil, nil).StartServer(t.Context(), "orders/all", trace.Carrier{
					{Key: "traceparent", Value: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
				}, "shop", trace.Child)
				if _, err := reqrep.Call(ctx, client, unsafeMethod, query{"fail"}); !errors.Is(err, link.Internal) {
					t.Errorf("a call: %v, want internal", err)
				}
				for _, r := range []link.Route{route, guarded} {
					st, err := link.HostOf(client).Open(ctx, r)
					if err == nil {
						_, err = st.Recv()
					}
					if code := link.CodeOf(err); code != link.Internal && (r != guarded || code != link.PermissionDenied) {
						t.Errorf("a stream of %s: %v", r, err)
					}
				}
				if _, err := reqrep.Call(ctx, client, unsafeMethod, query{"fine"}); err != nil {
					t.Errorf("the next call: %v", err)
				}
				if err := node.Shutdown(t.Context()); err == nil {
					t.Error("the error of a function of OnDrain is not told")
				}
			})
		})
	}
}

func TestHandlerThatEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var exits atomic.Int32
		mesh := linktest.NewMesh(t)
		log := &logBuffer{}
		srv := serve(mesh, link.Config{Logger: log.logger()}, func(_ context.Context, q query) (answer, error) {
			if q.Text == "exit" {
				exits.Add(1)
				runtime.Goexit()
			}
			return answer(q), nil
		})
		client := mesh.Node(link.Config{})
		begin := time.Now()
		if _, err := reqrep.Call(t.Context(), client, unsafeMethod, query{"exit"}); !errors.Is(err, link.Internal) || time.Since(begin) > time.Second {
			t.Errorf("got %v after %v, want an internal error at once", err, time.Since(begin))
		}
		if _, err := reqrep.Call(t.Context(), client, readOnlyMethod, query{"exit"}); !errors.Is(err, link.Internal) || exits.Load() != 2 {
			t.Errorf("a method that only reads: %v, and %d runs in all, want an internal error and 2", err, exits.Load())
		}
		if n := strings.Count(log.String(), "ended its goroutine"); n != 2 || !strings.Contains(log.String(), "route=orders/get") {
			t.Errorf("the log says so %d times, want 2:\n%s", n, log)
		}
		if got, err := reqrep.Call(t.Context(), client, unsafeMethod, query{"fine"}); err != nil || got.Text != "fine" {
			t.Errorf("the next call: %+v, %v", got, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("the drain waits for a handler that is gone: %v", err)
		}
	})
}

// TestCauseDoesNotDecideTheCode ends contexts with causes that look like other errors, in each phase of a call.
func TestCauseDoesNotDecideTheCode(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T, mesh *linktest.Mesh) *link.Node{
		"while the handler runs": func(_ *testing.T, mesh *linktest.Mesh) *link.Node {
			serve(mesh, link.Config{}, untilEnd(make(chan ending, 2)))
			return mesh.Node(link.Config{})
		},
		"while connecting": func(t *testing.T, mesh *linktest.Mesh) *link.Node {
			t.Helper()
			if err := mesh.Registry().Set(discovery.Instance{Service: "orders", Addr: "10.9.9.9:7443"}); err != nil {
				t.Fatal(err)
			}
			return mesh.Node(link.Config{Limits: link.Limits{DialTimeout: time.Minute}})
		},
		"while looking for instances": func(_ *testing.T, mesh *linktest.Mesh) *link.Node {
			return mesh.Node(link.Config{Registry: silentRegistry{mesh.Registry()}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := begin(t, linktest.NewMesh(t))
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { cancel(link.Errorf(link.NotFound, "failure of a sibling")) })
				if _, err := reqrep.Call(ctx, client, unsafeMethod, query{}); link.CodeOf(err) != link.Canceled || !strings.Contains(err.Error(), "failure of a sibling") {
					t.Errorf("canceled with a cause: %v, want canceled and the cause", err)
				}
				late, done := context.WithTimeoutCause(t.Context(), time.Second, errSecret)
				defer done()
				if _, err := reqrep.Call(late, client, unsafeMethod, query{}); link.CodeOf(err) != link.DeadlineExceeded || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("out of time with a cause: %v, want deadline exceeded", err)
				}
			})
		})
	}
}

// silentRegistry never says which instances exist.
type silentRegistry struct{ *static.Registry }

func (silentRegistry) Watch(context.Context, discovery.Query) (<-chan discovery.Snapshot, error) {
	return make(chan discovery.Snapshot), nil
}

func TestRegistryThatNeverAnswers(t *testing.T) {
	for _, tt := range []struct {
		name string
		ctx  time.Duration
		want time.Duration
	}{
		{"deadline of the node", 0, 10 * time.Second},
		{"deadline of the context", 3 * time.Second, 3 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				client := mesh.Node(link.Config{Registry: silentRegistry{mesh.Registry()}})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				// A call that would never end must fail the test.
				time.AfterFunc(time.Hour, cancel)
				if tt.ctx > 0 {
					ctx, cancel = context.WithTimeout(ctx, tt.ctx)
					defer cancel()
				}
				begin := time.Now()
				_, err := reqrep.Call(ctx, client, unsafeMethod, query{})
				if !errors.Is(err, link.DeadlineExceeded) || time.Since(begin) != tt.want {
					t.Fatalf("got %v after %v, want deadline exceeded after %v", err, time.Since(begin), tt.want)
				}
				if text := err.Error(); !strings.Contains(text, mesh.Registry().Describe()) || !strings.Contains(text, "orders") {
					t.Errorf("error %q does not name the registry and the service", text)
				}
			})
		})
	}
}

// TestDeadInstancesDoNotSlowCalls leaves two dead instances in the registry beside two that are connected.
func TestDeadInstancesDoNotSlowCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var nodes []*link.Node
		for range 4 {
			nodes = append(nodes, serve(mesh, link.Config{Registry: mesh.Registry()}, echo))
		}
		client := mesh.Node(link.Config{})
		// All instances are connected after these calls.
		for range 100 {
			if _, err := reqrep.Call(t.Context(), client, readOnlyMethod, query{}); err != nil {
				t.Fatal(err)
			}
		}
		mesh.Kill(nodes[0])
		mesh.Kill(nodes[1])
		// Their connections are gone by then.
		sleep(40 * time.Second)
		for range 100 {
			begin := time.Now()
			if _, err := reqrep.Call(t.Context(), client, readOnlyMethod, query{}); err != nil || time.Since(begin) > 100*time.Millisecond {
				t.Fatalf("%v after %v, want a reply at once", err, time.Since(begin))
			}
			sleep(100 * time.Millisecond)
		}
	})
}

// TestDrainWaitsForMessagesOnTheirWay begins a drain while requests that take many round trips are being sent.
func TestDrainWaitsForMessagesOnTheirWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(100*time.Millisecond))
		first := serve(mesh, link.Config{}, echo)
		client := mesh.Node(link.Config{Limits: link.Limits{CallTimeout: time.Minute}})
		if _, err := reqrep.Call(t.Context(), client, unsafeMethod, query{strings.Repeat("x", 100<<10)}); err != nil {
			t.Fatal(err)
		}
		serve(mesh, link.Config{}, echo)
		large := strings.Repeat("x", race.Fewer(3<<20, 1<<20))
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				sleep(time.Duration(i) * 100 * time.Millisecond)
				if _, err := reqrep.Call(t.Context(), client, unsafeMethod, query{large}); err != nil {
					t.Errorf("call %d: %v", i, err)
				}
			})
		}
		sleep(300 * time.Millisecond)
		mesh.Stop(first)
		wg.Wait()
	})
}

// TestOverloadedInstancesAreAskedThreeTimes fills six instances and makes one more call.
func TestOverloadedInstancesAreAskedThreeTimes(t *testing.T) {
	const instances, most = 6, 3
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var runs atomic.Int32
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for range instances {
			srv := serve(mesh, link.Config{Limits: link.Limits{CallsPerProcess: 1}}, blocked(&runs))
			only, err := static.New(discovery.Instance{Service: "orders", Addr: srv.Addr()})
			if err != nil {
				t.Fatal(err)
			}
			filler := mesh.Node(link.Config{Registry: only})
			wg.Go(func() { _, _ = reqrep.Call(ctx, filler, unsafeMethod, query{}) })
		}
		sleep(time.Second)
		if runs.Load() != instances {
			t.Fatalf("%d of %d instances are busy", runs.Load(), instances)
		}
		_, err := reqrep.Call(t.Context(), mesh.Node(link.Config{}), readOnlyMethod, query{})
		var e *link.Error
		if !errors.As(err, &e) || e.Code != link.ResourceExhausted || e.Attempt != most {
			t.Errorf("got %v, want resource exhausted after at most %d attempts", err, most)
		}
		cancel()
		wg.Wait()
	})
}

func TestWaitForReadyWithManyDeadInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		dead := make([]discovery.Instance, 20)
		for i := range dead {
			dead[i] = discovery.Instance{Service: "orders", Addr: fmt.Sprintf("10.9.9.%d:7443", i+1)}
		}
		if err := mesh.Registry().Set(dead...); err != nil {
			t.Fatal(err)
		}
		client := mesh.Node(link.Config{Limits: link.Limits{CallTimeout: time.Minute, DialTimeout: 100 * time.Millisecond}})
		result := make(chan error, 1)
		go func() {
			_, err := reqrep.Call(t.Context(), client, unsafeMethod, query{}, link.WaitForReady())
			result <- err
		}()
		select {
		case err := <-result:
			t.Errorf("the call did not wait: %v", err)
			return
		case <-time.After(20 * time.Second):
		}
		serve(mesh, link.Config{}, echo)
		if err := <-result; err != nil {
			t.Errorf("with an instance that lives: %v", err)
		}
	})
}

func TestErrorsBeyondTheLimitsAreCut(t *testing.T) {
	const limit = 255 // bytes of a name on the wire
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			name string
			err  *link.Error
			id   string
		}{
			{"long ID", &link.Error{ID: strings.Repeat("x", 300)}, strings.Repeat("x", limit)},
			{"invalid ID", &link.Error{ID: "a\xff"}, "a\uFFFD"},
			{"invalid type of a detail", &link.Error{Details: []link.Detail{{Type: "a\xff", Data: []byte{0xa0}}}}, ""},
			{"long type of a detail", &link.Error{Details: []link.Detail{{Type: strings.Repeat("x", 300), Data: []byte{0xa0}}}}, ""},
			{"large detail", &link.Error{Details: []link.Detail{{Type: "x", Data: make([]byte, 64<<10)}}}, ""},
		} {
			tt.err.Code, tt.err.Message = link.NotFound, "no order"
			got := fails(t, linktest.NewMesh(t), link.Config{}, tt.err)
			if got.Code != link.NotFound || got.Message != "no order" || !got.Remote || got.ID != tt.id || len(got.Details) != 0 {
				t.Errorf("%s: got %.300s with ID %q and %d details", tt.name, got, got.ID, len(got.Details))
			}
		}
	})
}

// TestWaitForAStreamCostsTime has a call wait for the only stream, which uses up part of its time.
func TestWaitForAStreamCostsTime(t *testing.T) {
	for name, pad := range map[string]string{"small": "", "large": strings.Repeat("x", 100<<10)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				left := make(chan time.Duration, 1)
				serve(mesh, link.Config{Limits: link.Limits{Streams: link.StreamLimits{PerConnection: 1}}}, func(ctx context.Context, q query) (answer, error) {
					if strings.HasPrefix(q.Text, "slow") {
						sleep(8 * time.Second)
						return answer{}, nil
					}
					deadline, _ := ctx.Deadline()
					left <- time.Until(deadline)
					return answer{}, nil
				})
				client := mesh.Node(link.Config{})
				var wg sync.WaitGroup
				wg.Go(func() {
					if _, err := reqrep.Call(t.Context(), client, unsafeMethod, query{"slow" + pad}); err != nil {
						t.Errorf("the call that keeps the stream busy: %v", err)
					}
				})
				sleep(time.Second)
				// This call waits for 7 of its 10 s.
				if _, err := reqrep.Call(t.Context(), client, unsafeMethod, query{"fast" + pad}); err != nil {
					t.Fatal(err)
				}
				if got := <-left; got < 2*time.Second || got > 4*time.Second {
					t.Errorf("the handler had %v left, want about 3s", got)
				}
				wg.Wait()
			})
		})
	}
}
