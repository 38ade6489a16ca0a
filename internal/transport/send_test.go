package transport

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/wire"
)

// TestAResetClaimsNoRoom checks that a stream whose peer makes no room ends without its connection. A reset
// that promised to deliver what waits for room would end the connection, with all calls on it.
func TestAResetClaimsNoRoom(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		opened := make(chan struct{}, 1)
		server := w.rawServer("orders", serving(func(s *rawStream) {
			select {
			case opened <- struct{}{}:
				// The first stream is never read.
				<-s.Context().Done()
			default:
				if _, err := s.request(true); err == nil {
					s.say(data("honest"), wire.AppendOK(nil, wire.FlagLast))
				}
			}
		}))
		s, err := w.quiet("web", Limits{}).dial(server)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		st, err := s.Open(ctx, &wire.Headers{Route: "any"})
		if err != nil {
			t.Fatal(err)
		}
		sent := 0
		for err == nil && sent < 100e6 {
			err = st.Send(ctx, plain(strings.Repeat("m", 1000)))
			sent += 1000
		}
		mustFail(t, err, ReasonCanceled)
		if err := s.conn.Context().Err(); err != nil {
			t.Fatalf("the connection ended: %v", s.conn.Cause())
		}
		settle()
		mustEcho(t, s)
	})
}

// TestAResetDeliversWhatThereWasRoomFor checks that frames that found room are delivered before a reset.
func TestAResetDeliversWhatThereWasRoomFor(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		got := make(chan string, 1)
		server := w.rawServer("orders", serving(func(s *rawStream) {
			// The reset arrives before the first read.
			idle(time.Second)
			message, _ := s.request(true)
			got <- message
		}))
		s, err := w.quiet("web", Limits{}).dial(server)
		if err != nil {
			t.Fatal(err)
		}
		st, err := s.Open(t.Context(), &wire.Headers{Route: "any"})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []Frame{plain(strings.Repeat("m", 20<<10)), {Kind: wire.KindData, Body: []byte("word")}} {
			if err := st.Send(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
		st.Cancel(wire.CodeCanceled)
		if message := <-got; message != "word" {
			t.Errorf("got %q", message)
		}
	})
}

// TestAResetClaimsNoRoomForWhatWasBefore has a stream reset by a pattern behind two calls, while the second
// reply waits for room. The connection lives on.
func TestAResetClaimsNoRoomForWhatWasBefore(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		server.handler.onCall("kilo", func(c *Call) { answer(c, strings.Repeat("k", 1000)) })
		server.handler.onStream("stream", func(s *Stream) { s.Cancel(wire.CodeInternal) })
		r := w.narrow("slow", server, 1500)
		r.stream(join(calls(), callFrames("kilo", time.Minute, ""), callFrames("kilo", time.Minute, ""), headers("stream", time.Second)))
		settle()
		if r.conn.Context().Err() != nil {
			t.Fatalf("the connection ended: %v", r.conn.Cause())
		}
		r.mustEcho()
	})
}

// TestAResetDeliversALargeReply checks that a large reply that was written before the reset arrives.
func TestAResetDeliversALargeReply(t *testing.T) {
	for _, size := range []int{oneWrite, 4000, 100 << 10} {
		inEach(t, func(w *world) {
			t := w.t
			server := w.node("orders", Limits{})
			r := w.client("web", server)
			want := strings.Repeat("m", size)
			st := r.stream(join(calls(), callFrames("echo", time.Second, want), frame(wire.KindData, wire.FlagCritical, "astray")))
			// The reset arrives before the first read.
			settle()
			if got := st.reply(); got.err != nil || got.message != want {
				t.Fatalf("a reply of %d bytes: %d bytes, %v", size, len(got.message), got.err)
			}
			st.mustReset(wire.CodeProtocol)
		})
	}
}

// TestAResetDeliversWhatWasBefore checks that a reply that found room arrives although the reply behind it found
// none.
func TestAResetDeliversWhatWasBefore(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		server.handler.onCall("kilo", func(c *Call) { answer(c, strings.Repeat("k", 1000)) })
		r := w.narrow("slow", server, 1500)
		kilo := callFrames("kilo", time.Minute, "")
		st := r.stream(join(calls(), kilo, kilo, frame(wire.KindData, wire.FlagCritical, "astray")))
		settle()
		if got := st.reply(); got.err != nil || len(got.message) != 1000 {
			t.Errorf("the reply: %d bytes, %v", len(got.message), got.err)
		}
		st.mustReset(wire.CodeProtocol)
	})
}
