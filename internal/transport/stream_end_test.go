package transport

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/wire"
)

func TestOpenWaitsForAStream(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{Streams: StreamLimits{PerConnection: 1}}), w.quiet("web", Limits{})
		server.streams()
		s := client.connect(server)
		st := openStream(t, s, wire.Credit{})
		ctx, cancel := withTimeout(t, time.Second)
		defer cancel()
		_, err := s.Open(ctx, &wire.Headers{Route: "stream"})
		if e := failure(t, err, ReasonCanceled); !e.NotProcessed {
			t.Errorf("%q does not say that nothing was processed", e)
		}
		st.Cancel(wire.CodeCanceled)
		openStream(t, s, wire.Credit{}).Cancel(wire.CodeCanceled)
	})
}

// TestOpenEndsWithItsContext checks that Open ends with its context even if the peer takes no bytes of the HEADERS.
func TestOpenEndsWithItsContext(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		s := client.connect(server)
		settle()
		w.lose(from(server.addr))
		h := wire.Headers{Route: "stream", Metadata: []wire.Pair{{Key: "k", Value: strings.Repeat("v", 8000)}}}
		// The context ends before the peer is given up.
		ctx, cancel := withTimeout(t, client.limits.Silence)
		defer cancel()
		start := time.Now()
		// Open succeeds until the congestion window is full.
		for i := 0; ; i++ {
			if _, err := s.Open(ctx, &h); err != nil {
				mustFail(t, err, ReasonCanceled)
				break
			}
			if i == 1000 {
				t.Fatal("the window never filled")
			}
		}
		if took := time.Since(start); took > client.limits.Silence {
			t.Errorf("gave up after %v", took)
		}
	})
}

func TestStreamsOfALostConnection(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		opened := server.streams()
		s := client.connect(server)
		st := openStream(t, s, wire.Credit{})
		peer := <-opened
		s.close(wire.CodeIdle, "test")
		_, err := st.Recv(t.Context())
		mustFail(t, err, ReasonLost)
		_, err = peer.Recv(t.Context())
		mustFail(t, err, ReasonLost)
		mustFail(t, st.Send(t.Context(), plain("x")), ReasonLost)
		_, err = s.Open(t.Context(), &wire.Headers{Route: "stream"})
		mustFail(t, err, ReasonLost)
	})
}

// TestAConnectionIsIdleOnlySinceItsLastStreamEnded checks that idleness does not count from the start of the stream.
func TestAConnectionIsIdleOnlySinceItsLastStreamEnded(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		limits := Limits{SessionIdle: time.Minute}
		server, client := w.node("orders", Limits{}), w.quiet("web", limits)
		server.streams()
		s := client.connect(server)
		st := openStream(t, s, wire.Credit{})
		idle(10 * limits.SessionIdle)
		st.Cancel(wire.CodeCanceled)
		idle(limits.SessionIdle / 2)
		if s.ended() {
			t.Error("the connection ended with its stream")
		}
		idle(limits.SessionIdle)
		if !s.ended() {
			t.Error("the connection is kept though nothing uses it")
		}
	})
}

func TestRecvEndsWithItsContext(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		opened := server.streams()
		st := openStream(t, client.connect(server), wire.Credit{})
		peer := <-opened
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() { idle(time.Second); cancel(why) }()
		_, err := st.Recv(ctx)
		if e := failure(t, err, ReasonCanceled); !errors.Is(e, why) {
			t.Errorf("the error is %v, want the cause", e)
		}
		// The stream goes on, and nothing was lost.
		if err := peer.Send(t.Context(), plain("late")); err != nil {
			t.Fatal(err)
		}
		if got := st.mustRecv(t); got != "late" {
			t.Errorf("got %q", got)
		}
	})
}

// TestWhatEndsWithAStreamHasEndedBeforeRecvSaysSo checks that the function of OnEnd has run before anybody learns of the
// end. Recv, woken by the frame before, may find the end before the reader of the stream reports it.
func TestWhatEndsWithAStreamHasEndedBeforeRecvSaysSo(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		server.handler.onStream("stream", func(s *Stream) { s.Finish(&wire.Status{}) })
		s := client.connect(server)
		for _, end := range []func(st *Stream) error{
			func(st *Stream) error { _, err := st.Recv(t.Context()); return err },
			func(st *Stream) error { _ = st.Await(t.Context(), 1); return st.End() },
		} {
			st := openStream(t, s, wire.Credit{})
			var over atomic.Int64
			st.OnEnd(func() {
				// Let all goroutines run that wait for the end.
				for range 1000 {
					runtime.Gosched()
				}
				over.Add(1)
			})
			if err := end(st); !errors.Is(err, io.EOF) {
				t.Errorf("the stream ended with %v", err)
			}
			if n := over.Load(); n != 1 {
				t.Errorf("what ends with the stream has ended %d times when its end is reported, want once", n)
			}
			settle()
			if n := over.Load(); n != 1 {
				t.Errorf("what ends with the stream has ended %d times, want once", n)
			}
		}
	})
}

// TestFinishWaitsForNobody checks that a peer that reads nothing cannot hold the handler for longer than writeGrace.
func TestFinishWaitsForNobody(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		done := make(chan time.Duration, 1)
		server.handler.onStream("stream", func(s *Stream) {
			ctx, cancel := context.WithTimeout(s.Canceled(), time.Second)
			defer cancel()
			for range 20 {
				if s.write(ctx, func(b []byte) []byte { return append(b, make([]byte, 100<<10)...) }) != nil {
					break
				}
			}
			start := time.Now()
			s.Finish(&wire.Status{Message: strings.Repeat("m", 4000)})
			done <- time.Since(start)
		})
		r := w.narrow("mallory", server, 1<<10)
		r.stream(append(wire.AppendVarint(nil, uint64(wire.StreamCall)), headers("stream", time.Second)...))
		if took := <-done; took > writeGrace {
			t.Errorf("Finish took %v", took)
		}
		settle()
		if n := server.Active(); n != 0 {
			t.Errorf("%d handlers are active", n)
		}
	})
}

// TestAStatusArrivesBehindAStream checks that a STATUS of any length arrives although the peer has not ended its side.
func TestAStatusArrivesBehindAStream(t *testing.T) {
	for _, size := range []int{10, oneWrite, 4000} {
		inEach(t, func(w *world) {
			t := w.t
			server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
			want := strings.Repeat("m", size)
			server.handler.onStream("stream", func(s *Stream) { s.Finish(&wire.Status{Code: 5, Message: want}) })
			st := openStream(t, client.connect(server), wire.Credit{})
			if _, err := st.Recv(t.Context()); !errors.Is(err, io.EOF) {
				t.Errorf("behind a STATUS of %d bytes: %v, want io.EOF", size, err)
			}
			if status := st.Status(); status == nil || status.Message != want {
				t.Errorf("a STATUS of %d bytes did not arrive", size)
			}
		})
	}
}

// TestAStatusWaitsForRoom checks that a STATUS and the frames before it arrive once the peer makes room.
func TestAStatusWaitsForRoom(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		server.handler.onStream("stream", func(s *Stream) {
			for range 2 {
				if err := s.Send(s.Canceled(), plain(strings.Repeat("k", 980))); err != nil {
					t.Error(err)
				}
			}
			s.Finish(&wire.Status{Code: 5, Message: "done"})
		})
		r := w.narrow("slow", server, 1900)
		st := r.stream(append(wire.AppendVarint(nil, uint64(wire.StreamCall)), headers("stream", time.Minute)...))
		// By then the handler has written everything, and the peer has read nothing.
		settle()
		if n := server.Active(); n != 0 {
			t.Fatalf("%d handlers are active", n)
		}
		if got := st.reply(); got.err != nil || got.status.Message != "done" {
			t.Errorf("got %+v", got)
		}
	})
}

// TestAStreamEndsWithItsHandler checks that a stream ends even if its handler ends its goroutine.
func TestAStreamEndsWithItsHandler(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		server.handler.onStream("stream", func(*Stream) { runtime.Goexit() })
		st := openStream(t, client.connect(server), wire.Credit{})
		ctx, cancel := withTimeout(t, time.Minute)
		defer cancel()
		_, err := st.Recv(ctx)
		if e := failure(t, err, ReasonReset); e.Code != wire.CodeInternal {
			t.Errorf("the stream ended with %v", e)
		}
		settle()
		if n := server.Active(); n != 0 {
			t.Errorf("%d handlers are active", n)
		}
	})
}

func TestStreamsLearnOfADrain(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		opened := server.streams()
		s := client.connect(server)
		st := openStream(t, s, wire.Credit{})
		peer := <-opened
		over := server.drain(time.Second)
		<-peer.Draining()
		<-st.Draining()
		_, err := s.Open(t.Context(), &wire.Headers{Route: "stream"})
		mustFail(t, err, ReasonDraining)
		st.Cancel(wire.CodeCanceled)
		if err := <-over; err != nil {
			t.Errorf("drain: %v", err)
		}
	})
}

// TestAGrantBehindTheLastFrameIsNoError has a peer send its last frame and stop reading. A receiver
// that grants credit for each frame must still get that frame.
func TestAGrantBehindTheLastFrameIsNoError(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.rawServer("orders", serving(func(s *rawStream) {
			// Skip the type of the stream and HEADERS.
			_, _ = s.frames.varint()
			_, _, _ = s.frames.next()
			s.say(frame(wire.KindPattern, 0, "last"))
			s.CancelRead(0)
			<-s.Context().Done()
		}))
		s, err := w.quiet("web", Limits{}).dial(server)
		if err != nil {
			t.Fatal(err)
		}
		st, err := s.Open(t.Context(), &wire.Headers{Route: "any"})
		if err != nil {
			t.Fatal(err)
		}
		settle()
		if err := st.Grant(wire.Credit{Messages: 1, Bytes: 1}); err != nil {
			t.Errorf("granting: %v", err)
		}
		if f, err := st.Recv(t.Context()); err != nil || string(f.Body) != "last" {
			t.Errorf("got %q, %v", f.Body, err)
		}
		st.Cancel(wire.CodeCanceled)
	})
}

// TestWhoSendsToAPeerThatHasEndedHearsWhy checks that a failed Send waits for the STATUS of a peer that
// has ended the stream. The STATUS may come after the peer has stopped reading, or never.
func TestWhoSendsToAPeerThatHasEndedHearsWhy(t *testing.T) {
	for name, c := range map[string]struct {
		// late is the time until the STATUS. 0 means never.
		late time.Duration
		has  bool
	}{
		"at once":          {time.Nanosecond, true},
		"a packet is lost": {statusMost / 2, true},
		"never":            {0, false},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				server := w.rawServer("orders", serving(func(s *rawStream) {
					if _, err := s.Read(make([]byte, 100)); err != nil {
						return
					}
					s.CancelRead(wire.CodeNone)
					if c.late > 0 {
						idle(c.late)
						s.say(wire.AppendStatus(nil, &wire.Status{Code: 10, Message: "a later run was here"}, wire.FlagLast))
					}
				}))
				s, err := w.quiet("web", Limits{}).dial(server)
				if err != nil {
					w.t.Fatal(err)
				}
				st, err := s.Open(w.t.Context(), &wire.Headers{Route: "stream"})
				if err != nil {
					w.t.Fatal(err)
				}
				defer st.Cancel(wire.CodeCanceled)
				ping := Frame{Kind: wire.KindPattern, Body: []byte("x")}
				for err == nil {
					err = st.Send(w.t.Context(), ping)
					idle(latency)
				}
				if status := st.Status(); (status != nil) != c.has {
					w.t.Errorf("Send ends with %v, and the STATUS is %+v", err, status)
				}
				if err := st.Send(w.t.Context(), ping); err == nil {
					w.t.Error("another Send succeeds")
				}
			})
		})
	}
}
