package reqrep_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// randomText returns text that does not repeat, so that lost or duplicated parts
// are found.
func randomText(n int) string {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	for i := range b {
		b[i] = 'a' + byte(r.Uint64()%26)
	}
	return string(b)
}

func TestMessagesOfAllSizes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(2*time.Millisecond))
		serve(mesh, link.Config{}, echo)
		client := mesh.Node(link.Config{})
		for _, size := range []int{
			0, 1, 1100, 1200, 1300, 2 << 10, 2<<10 + 1, 8 << 10, 8<<10 + 1,
			64<<10 - 20, 64 << 10, 64<<10 + 1, 1 << 20, 4<<20 - 16,
		} {
			want := randomText(size)
			got, err := reqrep.Call(t.Context(), client, unsafeMethod, query{want})
			if err != nil || got.Text != want {
				t.Errorf("message of %d bytes: %v, got %d bytes", size, err, len(got.Text))
			}
		}
	})
}

func TestMessageLimits(t *testing.T) {
	const small = 1000
	limited := link.Config{Limits: link.Limits{MaxMessage: small}}
	for _, tt := range []struct {
		name           string
		server, client link.Config
		opts           []link.HandleOption
		request, reply int
		remote         bool
		// want lists parts of the expected error; nil expects success.
		want []string
		ran  bool
	}{
		{"request over the caller's limit", link.Config{}, limited, nil, 2000, 0, false, []string{"this node's Config.Limits.MaxMessage of 1000 bytes", "request of 20"}, false},
		{"request over the server's limit", limited, link.Config{}, nil, 2000, 0, false, []string{"Config.Limits.MaxMessage of 1000 bytes of orders-", "request of 20"}, false},
		{"large request over the server's limit", limited, link.Config{}, nil, 2 << 20, 0, false, []string{"Config.Limits.MaxMessage of 1000 bytes of orders-", "request of 20971"}, false},
		{"reply over the server's limit", limited, link.Config{}, nil, 0, 2000, true, []string{"Config.Limits.MaxMessage of 1000 bytes", "response of 20"}, true},
		{"reply over the caller's limit", link.Config{}, limited, nil, 0, 2000, true, []string{"Config.Limits.MaxMessage of 1000 bytes", "response of 20"}, true},
		{"large reply over the caller's limit", link.Config{}, limited, nil, 0, 2 << 20, true, []string{"Config.Limits.MaxMessage of 1000 bytes", "response of 20971"}, true},
		{"request over the handler's limit", link.Config{}, link.Config{}, []link.HandleOption{link.MaxMessage(small)}, 2000, 0, false, []string{"the route's MaxMessage of 1000 bytes of orders-", "request of 20"}, false},
		{"large request over the handler's limit", link.Config{}, link.Config{}, []link.HandleOption{link.MaxMessage(small)}, 2 << 20, 0, false, []string{"the route's MaxMessage of 1000 bytes of orders-", "request of 20971"}, false},
		{"reply over the handler's limit", link.Config{}, link.Config{}, []link.HandleOption{link.MaxMessage(small)}, 0, 2000, true, []string{"MaxMessage of 1000 bytes that the handler was registered with", "response of 20"}, true},
		{"request that the handler's limit allows", limited, link.Config{}, []link.HandleOption{link.MaxMessage(4000)}, 2000, 0, false, nil, true},
		{"all within limits", limited, limited, nil, 900, 900, false, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				ran := false
				serve(mesh, tt.server, func(_ context.Context, q query) (answer, error) {
					ran = ran || q.Text != "again"
					return answer{strings.Repeat("r", tt.reply)}, nil
				}, tt.opts...)
				client := mesh.Node(tt.client)
				// The client must know the limit of the route. Routes may come a moment after the reply.
				if tt.reply == 0 {
					if _, err := reqrep.Call(t.Context(), client, unsafeMethod, query{"again"}); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
				}
				// A large request has a connection of its own, whose routes come a moment after it. Either side may
				// refuse this call.
				if tt.request > 1<<20 {
					_, _ = reqrep.Call(t.Context(), client, unsafeMethod, query{strings.Repeat("q", tt.request)})
					synctest.Wait()
				}
				_, err := reqrep.Call(t.Context(), client, unsafeMethod, query{strings.Repeat("q", tt.request)})
				if ran != tt.ran {
					t.Errorf("the handler ran: %v, want %v", ran, tt.ran)
				}
				if tt.want == nil {
					if err != nil {
						t.Errorf("got %v", err)
					}
					return
				}
				var e *link.Error
				if !errors.As(err, &e) || e.Code != link.ResourceExhausted || e.Remote != tt.remote {
					t.Fatalf("got %v, want resource exhausted, decided by the server: %v", err, tt.remote)
				}
				for _, part := range tt.want {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("error %q lacks %q", err, part)
					}
				}
				if tt.reply == 0 {
					if _, err := reqrep.Call(t.Context(), client, unsafeMethod, query{"again"}); err != nil {
						t.Errorf("the next call: %v", err)
					}
				}
			})
		})
	}
}

func TestLimitsOnCalls(t *testing.T) {
	for _, tt := range []struct {
		name   string
		limits link.Limits
	}{
		{"CallsPerIdentity", link.Limits{CallsPerIdentity: 3}},
		{"CallsPerProcess", link.Limits{CallsPerProcess: 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				release := make(chan struct{})
				serve(mesh, link.Config{Limits: tt.limits}, func(ctx context.Context, q query) (answer, error) {
					select {
					case <-release:
					case <-ctx.Done():
					}
					return answer(q), nil
				})
				client := mesh.Node(link.Config{})
				errs := make(chan error, 4)
				for range 3 {
					go func() {
						_, err := reqrep.Call(t.Context(), client, unsafeMethod, query{})
						errs <- err
					}()
				}
				sleep(time.Second)
				_, err := reqrep.Call(t.Context(), client, unsafeMethod, query{})
				if want := fmt.Sprintf("Limits.%s allows, 3", tt.name); !errors.Is(err, link.ResourceExhausted) || !strings.Contains(err.Error(), want) {
					t.Errorf("one call too many: %v, want resource exhausted that names %q", err, want)
				}
				close(release)
				for range 3 {
					if err := <-errs; err != nil {
						t.Errorf("a call within the limit: %v", err)
					}
				}
				if _, err := reqrep.Call(t.Context(), client, unsafeMethod, query{}); err != nil {
					t.Errorf("when there is room again: %v", err)
				}
			})
		})
	}
}

// TestCallsWaitForAStream makes more calls than the connection has streams.
func TestCallsWaitForAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		serve(mesh, link.Config{Limits: link.Limits{Streams: link.StreamLimits{PerConnection: 4}}}, func(_ context.Context, q query) (answer, error) {
			sleep(time.Second)
			return answer(q), nil
		})
		client := mesh.Node(link.Config{})
		begin := time.Now()
		errs := make(chan error, 20)
		for range 20 {
			go func() {
				_, err := reqrep.Call(t.Context(), client, unsafeMethod, query{})
				errs <- err
			}()
		}
		for range 20 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(begin); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("20 calls of 1s, 4 at a time, took %v", took)
		}
	})
}

func TestTooManyCallsWaitForAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		serve(mesh, link.Config{Limits: link.Limits{Streams: link.StreamLimits{PerConnection: 1}}}, func(_ context.Context, q query) (answer, error) {
			sleep(time.Second)
			return answer(q), nil
		})
		client := mesh.Node(link.Config{Limits: link.Limits{Streams: link.StreamLimits{Waiters: 2}}})
		errs := make(chan error, 5)
		for range 5 {
			go func() {
				_, err := reqrep.Call(t.Context(), client, unsafeMethod, query{})
				errs <- err
			}()
		}
		failed := 0
		for range 5 {
			if err := <-errs; err != nil {
				failed++
				if !errors.Is(err, link.ResourceExhausted) || !strings.Contains(err.Error(), "Limits.Streams.Waiters") {
					t.Errorf("got %v, want resource exhausted that names Limits.Streams.Waiters", err)
				}
			}
		}
		if failed != 2 {
			t.Errorf("%d of 5 calls failed with 1 stream and 2 waiters, want 2", failed)
		}
	})
}
