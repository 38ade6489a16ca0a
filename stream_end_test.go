package link_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

func TestBothSidesSendAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, client := serveStream(mesh, link.Config{}, func(_ context.Context, s *link.Stream) error {
			for {
				f, err := s.Recv()
				if errors.Is(err, io.EOF) {
					return s.Send(link.Frame{Kind: frameText, Body: []byte("bye")})
				}
				if err != nil {
					return err
				}
				if err := s.Send(link.Frame{Kind: f.Kind, Body: bytes.ToUpper(f.Body)}); err != nil {
					return err
				}
			}
		})
		var who link.Peer
		s := open(t, client, link.AnsweredBy(&who))
		if who.Service() != "counter" || s.Peer().Instance != who.Instance {
			t.Errorf("opened to %v, the stream's peer is %v", who, s.Peer())
		}
		var got []string
		for _, text := range []string{"a", "b", ""} {
			if err := s.Send(link.Frame{Kind: frameText, Body: []byte(text)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
		for {
			f, err := s.Recv()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Errorf("the stream ended with %v", err)
				}
				break
			}
			got = append(got, string(f.Body))
		}
		if diff := cmp.Diff([]string{"A", "B", "", "bye"}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if s.Context().Err() == nil {
			t.Error("the context of a stream that ended has not")
		}
	})
}

func TestErrorOfTheHandlerEndsTheStream(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func() error
		code link.Code
		text string
	}{
		{"with a code", func() error { return link.Errorf(link.OutOfRange, "past the end") }, link.OutOfRange, "past the end"},
		{"without", func() error { return errors.New("hunter2") }, link.Internal, "the handler failed"},
		{"panic", func() error { panic("hunter2") }, link.Internal, "the handler failed"}, //nolint:forbidigo // under test
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				_, client := serveStream(mesh, link.Config{}, func(_ context.Context, s *link.Stream) error {
					for range 3 {
						if err := s.Send(link.Frame{Kind: frameText}); err != nil {
							t.Error(err)
						}
					}
					return tt.end()
				})
				// The node must survive the first stream.
				for range 2 {
					s := open(t, client)
					for range 3 {
						if _, err := s.Recv(); err != nil {
							t.Fatalf("before the end: %v", err)
						}
					}
					for range 2 {
						_, err := s.Recv()
						var e *link.Error
						if !errors.As(err, &e) || e.Code != tt.code || !e.Remote || e.Message != tt.text || !strings.Contains(err.Error(), "counter/numbers") {
							t.Errorf("Recv: %v, want %v with %q that names the route", err, tt.code, tt.text)
						}
					}
					if err := s.Send(link.Frame{Kind: frameText}); err != nil && !errors.Is(err, tt.code) {
						t.Errorf("Send after the end: %v", err)
					}
				}
			})
		})
	}
}

// TestAStreamHandlerThatEndsItsGoroutine checks that runtime.Goexit in a handler ends the stream and is logged.
func TestAStreamHandlerThatEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		log := &logBuffer{}
		_, client := serveStream(mesh, link.Config{Logger: log.logger()}, func(context.Context, *link.Stream) error {
			runtime.Goexit()
			return nil
		})
		s := open(t, client)
		if _, err := s.Recv(); !errors.Is(err, link.Internal) {
			t.Errorf("got %v, want an internal error", err)
		}
		if !strings.Contains(log.String(), "ended its goroutine") || !strings.Contains(log.String(), counterRoute.Name) {
			t.Errorf("the log does not say so:\n%s", log)
		}
	})
}

// TestAnAuthorizeThatEndsItsGoroutine checks that runtime.Goexit in Authorize ends the stream or the call at once and is
// logged, and that a drain does not wait for it.
func TestAnAuthorizeThatEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		log := &logBuffer{}
		srv := mesh.Node(link.Config{Service: "orders", Logger: log.logger()})
		exit := link.Authorize(func(link.Peer) error { runtime.Goexit(); return nil })
		never := link.Route{Service: "orders", Name: "never", Kind: link.KindChannel}
		link.HostOf(srv).Handle(never, func(context.Context, *link.Stream) error { return nil }, exit)
		reqrep.Handle(srv, putOrder, func(_ context.Context, o order) (order, error) { return o, nil }, exit)
		mesh.Start(srv)
		client := mesh.Node(link.Config{})
		begin := time.Now()
		s, err := link.HostOf(client).Open(t.Context(), never)
		if err == nil {
			_, err = s.Recv()
		}
		if !errors.Is(err, link.Internal) || time.Since(begin) > time.Second {
			t.Errorf("the stream: %v after %v, want an internal error at once", err, time.Since(begin))
		}
		begin = time.Now()
		if _, err := reqrep.Call(t.Context(), client, putOrder, order{}); !errors.Is(err, link.Internal) || time.Since(begin) > time.Second {
			t.Errorf("the call: %v after %v, want an internal error at once", err, time.Since(begin))
		}
		for _, name := range []string{never.Name, putOrder.Route().Name} {
			if !strings.Contains(log.String(), "route=orders/"+name) {
				t.Errorf("the log does not say so of %s:\n%s", name, log)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("the drain waits for what is gone: %v", err)
		}
	})
}

// TestTheContextOfAHandlerThatEndsItsGoroutineEnds checks that what such a handler leaves
// behind can no longer use its context, and that nothing keeps waiting for it.
func TestTheContextOfAHandlerThatEndsItsGoroutineEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		left := make(chan context.Context, 1)
		orders(mesh, link.Config{}, func(ctx context.Context, o order) (order, error) {
			<-time.After(time.Millisecond)
			context.AfterFunc(ctx, func() {})
			left <- ctx
			runtime.Goexit()
			return o, nil
		})
		client := mesh.Node(link.Config{})
		if _, err := reqrep.Call(t.Context(), client, putOrder, order{}, link.IdempotencyKey("k")); !errors.Is(err, link.Internal) {
			t.Errorf("got %v, want an internal error", err)
		}
		ctx := <-left
		if cause := context.Cause(ctx); !errors.Is(cause, link.ErrFinished) {
			t.Errorf("the context of the handler: %v, cause %v; want that it has returned", ctx.Err(), cause)
		}
		if key := link.IdempotencyKeyOf(ctx); key != "" {
			t.Errorf("it still says that the key is %q", key)
		}
	})
}

func TestCallerEndsTheStream(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(s *link.Stream, cancel context.CancelFunc)
		want link.Code
	}{
		{"by its context", func(_ *link.Stream, cancel context.CancelFunc) { cancel() }, link.Canceled},
		{"by Close", func(s *link.Stream, _ context.CancelFunc) { s.Close(); s.Close() }, link.Canceled},
		{"by its deadline", func(*link.Stream, context.CancelFunc) {}, link.DeadlineExceeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				ended := make(chan error, 2)
				_, client := serveStream(mesh, link.Config{}, func(ctx context.Context, s *link.Stream) error {
					_, err := s.Recv()
					ended <- err
					<-ctx.Done()
					ended <- context.Cause(ctx)
					return err
				})
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				s, err := link.HostOf(client).Open(ctx, counterRoute)
				if err != nil {
					t.Fatal(err)
				}
				received := make(chan error, 1)
				go func() { _, err := s.Recv(); received <- err }()
				sleep(time.Second)
				tt.end(s, cancel)
				if err := <-received; !errors.Is(err, tt.want) {
					t.Errorf("Recv of the caller: %v, want %v", err, tt.want)
				}
				if err := s.Send(link.Frame{Kind: frameText}); err == nil {
					t.Error("Send after the end works")
				}
				if err := <-ended; err == nil || errors.Is(err, io.EOF) {
					t.Errorf("Recv of the handler: %v, want an error", err)
				}
				if cause := <-ended; !errors.Is(cause, link.ErrCallerGone) {
					t.Errorf("the handler's context ended with %v, want ErrCallerGone", cause)
				}
			})
		})
	}
}

func TestSenderIsFreedFromWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ended := make(chan error, 1)
		_, client := serveStream(mesh, link.Config{}, func(_ context.Context, s *link.Stream) error {
			err := s.Send(link.Frame{Kind: frameNumber, Credited: true})
			ended <- err
			return err
		})
		s := open(t, client)
		sleep(time.Hour)
		s.Close()
		if err := <-ended; !errors.Is(err, link.Canceled) {
			t.Errorf("a Send that waits for credit: %v, want canceled", err)
		}
	})
}

func TestStreamLearnsOfADrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		srv, client := serveStream(mesh, link.Config{}, func(_ context.Context, s *link.Stream) error {
			<-s.Draining()
			return s.Send(link.Frame{Kind: frameText, Body: []byte("last")})
		})
		s := open(t, client)
		begin := time.Now()
		go mesh.Stop(srv)
		<-s.Draining()
		if f, err := s.Recv(); err != nil || string(f.Body) != "last" {
			t.Errorf("got %q, %v", f.Body, err)
		}
		if _, err := s.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want io.EOF", err)
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("the stream ended after %v", took)
		}
	})
}

// TestDrainEndsAStreamThatStays lets the time of a drain pass while the handler waits in
// Recv or Send, which it may do without a bound.
func TestDrainEndsAStreamThatStays(t *testing.T) {
	for name, wait := range map[string]func(s *link.Stream) error{
		"in Recv": func(s *link.Stream) error { _, err := s.Recv(); return err },
		"in Send": func(s *link.Stream) error { return s.Send(link.Frame{Kind: frameNumber, Credited: true}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				ended := make(chan error, 1)
				srv, client := serveStream(mesh, link.Config{}, func(_ context.Context, s *link.Stream) error {
					err := wait(s)
					ended <- err
					return err
				})
				s := open(t, client)
				grace, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				if err := srv.Shutdown(grace); !errors.Is(err, link.DeadlineExceeded) {
					t.Errorf("Shutdown: %v, want deadline exceeded", err)
				}
				if err := <-ended; !errors.Is(err, link.ErrDraining) {
					t.Errorf("the handler's wait ended with %v, want ErrDraining as its cause", err)
				}
				if _, err := s.Recv(); !errors.Is(err, link.Unavailable) {
					t.Errorf("the caller got %v, want unavailable", err)
				}
			})
		})
	}
}

func TestStreamToAKilledNodeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		srv, client := serveStream(mesh, link.Config{}, func(ctx context.Context, _ *link.Stream) error { <-ctx.Done(); return ctx.Err() })
		s := open(t, client)
		// An idle stream must stay open.
		sleep(time.Minute)
		if err := s.Context().Err(); err != nil {
			t.Fatalf("the stream ended while it was idle: %v", context.Cause(s.Context()))
		}
		mesh.Kill(srv)
		begin := time.Now()
		_, err := s.Recv()
		if took := time.Since(begin); !errors.Is(err, link.Unavailable) || took > 8*time.Second {
			t.Errorf("Recv: %v after %v, want unavailable within some seconds", err, took)
		}
	})
}
