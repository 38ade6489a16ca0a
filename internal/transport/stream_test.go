package transport

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/wire"
)

// streams adds a route whose handlers hand their stream to the test and run
// until it ends.
func (n *node) streams() <-chan *Stream {
	opened := make(chan *Stream, 100)
	n.handler.onStream("stream", func(s *Stream) {
		opened <- s
		<-s.Canceled().Done()
	})
	return opened
}

func openStream(t *testing.T, s *Session, credit wire.Credit) *Stream {
	t.Helper()
	st, err := s.Open(t.Context(), &wire.Headers{Route: "stream", Timeout: 1e6, Credit: credit})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func (st *Stream) mustRecv(t *testing.T) string {
	t.Helper()
	f, err := st.Recv(t.Context())
	if err != nil {
		t.Fatalf("receiving: %v", err)
	}
	return string(f.Body)
}

func credited(body string) Frame {
	return Frame{Kind: wire.KindPattern, Flags: wire.FlagCredited, Body: []byte(body)}
}

func plain(body string) Frame { return Frame{Kind: wire.KindPattern, Body: []byte(body)} }

func TestStreamCarriesFramesBothWays(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		server.handler.onStream("stream", func(s *Stream) {
			if s.Headers.Credit.Messages != 5 || string(s.Headers.Route) != "stream" {
				t.Errorf("HEADERS: %+v", s.Headers)
			}
			for {
				f, err := s.Recv(s.Canceled())
				if errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Errorf("receiving: %v", err)
					return
				}
				if err := s.Send(s.Canceled(), Frame{Kind: f.Kind, Body: append([]byte("re: "), f.Body...)}); err != nil {
					t.Errorf("sending: %v", err)
				}
			}
			s.Finish(&wire.Status{Code: 5, Message: "done"})
		})
		s := client.connect(server)
		st := openStream(t, s, wire.Credit{Messages: 5, Bytes: 100})
		ended := make(chan struct{})
		st.OnEnd(func() { close(ended) })
		for _, size := range []int{0, 1, 2000, 3000, 100 << 10} {
			body := strings.Repeat("x", size)
			if err := st.Send(t.Context(), plain(body)); err != nil {
				t.Fatal(err)
			}
			if got := st.mustRecv(t); got != "re: "+body {
				t.Fatalf("%d bytes came back as %d", size, len(got))
			}
		}
		if st.End() != nil || st.Status() != nil {
			t.Error("the stream ended early")
		}
		if err := st.CloseSend(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := st.Recv(t.Context()); !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %v, want io.EOF", err)
			}
		}
		if status := st.Status(); status == nil || status.Code != 5 || status.Message != "done" {
			t.Errorf("STATUS: %+v", status)
		}
		<-ended
		// The stream has ended, so OnEnd runs the function at once.
		st.OnEnd(func() { ended = nil })
		if ended != nil {
			t.Error("OnEnd after the end did nothing")
		}
		settle()
		if n := s.usage.credit.Load(); n != 0 {
			t.Errorf("%d bytes of credit are given out when no stream is open", n)
		}
		if s.usage.active.Load() != 0 || server.Active() != 0 {
			t.Error("a stream that ended counts as active")
		}
	})
}

func TestSenderWaitsForCredit(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		opened := server.streams()
		st := openStream(t, client.connect(server), wire.Credit{Messages: 2, Bytes: 10})
		peer := <-opened
		sent := make(chan error, 10)
		go func() {
			for i := range 4 {
				sent <- peer.Send(peer.Canceled(), credited(fmt.Sprint("frame", i)))
			}
		}()
		settle()
		// A frame takes 6 of the 10 bytes.
		if len(sent) != 1 {
			t.Fatalf("%d frames were sent, want the one that the bytes allow", len(sent))
		}
		grant := func(c wire.Credit, want int) {
			t.Helper()
			if err := st.Grant(c); err != nil {
				t.Fatal(err)
			}
			settle()
			if len(sent) != want {
				t.Fatalf("after %+v: %d frames were sent, want %d", c, len(sent), want)
			}
		}
		grant(wire.Credit{Bytes: 100}, 2)
		// No messages are left.
		grant(wire.Credit{Bytes: 100}, 2)
		grant(wire.Credit{Messages: 1}, 3)
		grant(wire.Credit{Messages: 5, Bytes: 100}, 4)
		for i := range 4 {
			if got := st.mustRecv(t); got != fmt.Sprint("frame", i) {
				t.Errorf("frame %d is %q", i, got)
			}
		}
		if c, want := peer.Credit(), (wire.Credit{Messages: 4, Bytes: 286}); c != want {
			t.Errorf("credit that is left: %+v, want %+v", c, want)
		}
		ctx, cancel := withTimeout(t, time.Second)
		defer cancel()
		err := peer.Send(ctx, credited(strings.Repeat("x", 300)))
		if e := failure(t, err, ReasonCanceled); !strings.Contains(e.Error(), "credit") {
			t.Errorf("the error is %q", e)
		}
		st.Cancel(wire.CodeCanceled)
	})
}

func TestCreditEndsWithTheStream(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		opened, failed := make(chan *Stream, 1), make(chan struct{})
		server.handler.onStream("stream", func(s *Stream) {
			opened <- s
			// The handler waits, so that the caller ends the stream.
			<-failed
		})
		st := openStream(t, client.connect(server), wire.Credit{})
		peer := <-opened
		sent := make(chan error, 1)
		go func() { sent <- peer.Send(t.Context(), credited("x")) }()
		settle()
		st.Cancel(wire.CodeCanceled)
		mustFail(t, <-sent, ReasonReset)
		close(failed)
		if err := st.Grant(wire.Credit{Messages: 1, Bytes: 1}); err != nil {
			if e, _ := errors.AsType[*Error](err); e == nil {
				t.Errorf("granting after the end: %v", err)
			}
		}
	})
}

func TestCreditOfAConnectionIsBounded(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		opened := server.streams()
		s := client.connect(server)
		a := openStream(t, s, wire.Credit{Messages: 1, Bytes: maxCredit - 10})
		<-opened
		_, err := s.Open(t.Context(), &wire.Headers{Route: "stream", Credit: wire.Credit{Bytes: 11}})
		if e := failure(t, err, ReasonLimit); !e.NotProcessed {
			t.Errorf("%q does not say that nothing was processed", e)
		}
		for _, n := range []uint64{11, maxCredit, 1 << 62, 1<<64 - 1} {
			mustFail(t, a.Grant(wire.Credit{Bytes: n}), ReasonLimit)
		}
		b := openStream(t, s, wire.Credit{Bytes: 10})
		a.Cancel(wire.CodeCanceled)
		settle()
		if err := b.Grant(wire.Credit{Bytes: maxCredit - 10}); err != nil {
			t.Errorf("what an ended stream had is not free again: %v", err)
		}
		b.Cancel(wire.CodeCanceled)
		settle()
		if n := s.usage.credit.Load(); n != 0 {
			t.Errorf("%d bytes of credit are given out when no stream is open", n)
		}
	})
}

// TestStreamAttacks has a client do what it must not do on a stream. The server has
// granted one message of 10 bytes.
func TestStreamAttacks(t *testing.T) {
	over := frame(wire.KindPattern, 0, "")
	for _, test := range []struct {
		name string
		send []byte
		want wire.Code
		// cut means that the connection ends, not only the stream.
		cut bool
	}{
		{"credited frame with too many bytes", frame(wire.KindPattern, wire.FlagCredited, "12345678901"), wire.CodeLimit, true},
		{"more credited frames than granted", bytes.Repeat(frame(wire.KindPattern, wire.FlagCredited, "1"), 2), wire.CodeLimit, true},
		{"frames without credit above PendingFrames", bytes.Repeat(over, 9), wire.CodeLimit, false},
		{"frames without credit above PendingBytes", bytes.Repeat(frame(wire.KindPattern, 0, strings.Repeat("x", 600)), 2), wire.CodeLimit, false},
		{"frame above MaxMessage", wire.AppendFrameHeader(nil, wire.FrameHeader{Kind: wire.KindPattern, Length: 100<<10 + 1}), wire.CodeLimit, false},
		{"frame of the largest length", wire.AppendFrameHeader(nil, wire.FrameHeader{Kind: wire.KindPattern, Length: wire.MaxVarint}), wire.CodeLimit, false},
		{"unknown critical frame", frame(0x9d, wire.FlagCritical, ""), wire.CodeProtocol, false},
		{"compressed frame", frame(wire.KindPattern, wire.FlagCompressed, ""), wire.CodeProtocol, false},
		{"fragment", frame(wire.KindPattern, wire.FlagMore, ""), wire.CodeProtocol, false},
		{"frame behind END", join(wire.AppendEnd(nil), over), wire.CodeProtocol, false},
		{"END that is too long", wire.AppendFrameHeader(nil, wire.FrameHeader{Kind: wire.KindEnd, Flags: wire.FlagCritical, Length: 1 << 20}), wire.CodeLimit, false},
		{"HEADERS again", headers("stream", 1), wire.CodeProtocol, false},
		{"malformed CREDIT", frame(wire.KindCredit, wire.FlagCritical, "\x01"), wire.CodeProtocol, false},
		{"malformed STATUS", frame(wire.KindStatus, wire.FlagCritical, "\xff"), wire.CodeProtocol, false},
		{"frame that never ends", frame(wire.KindPattern, 0, "12345")[:5], wire.CodeLimit, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inEach(t, func(w *world) {
				t := w.t
				server := w.node("orders", Limits{MaxMessage: 100 << 10, Streams: StreamLimits{PendingFrames: 8, PendingBytes: 1000}})
				opened := server.streams()
				honest := w.quiet("web", Limits{}).connect(server)
				r := w.client("mallory", server)
				raw := r.stream(append(wire.AppendVarint(nil, uint64(wire.StreamCall)), headers("stream", time.Second)...))
				st := <-opened
				if err := st.Grant(wire.Credit{Messages: 1, Bytes: 10}); err != nil {
					t.Fatal(err)
				}
				raw.write(test.send)
				if test.cut {
					r.mustClose(test.want)
				} else {
					raw.mustReset(test.want)
				}
				err := error(nil)
				for err == nil {
					_, err = st.Recv(t.Context())
				}
				if e, _ := errors.AsType[*Error](err); e == nil {
					t.Errorf("the handler got %v, want an Error", err)
				}
				mustEcho(t, honest)
				if !test.cut {
					r.mustEcho()
				}
			})
		})
	}
}

func TestCreditAboveTheLargestNumberIsTheLargest(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		opened := server.streams()
		r := w.client("mallory", server)
		raw := r.stream(append(wire.AppendVarint(nil, uint64(wire.StreamCall)), headers("stream", time.Second)...))
		st := <-opened
		most := wire.AppendCredit(nil, wire.Credit{Messages: wire.MaxVarint, Bytes: wire.MaxVarint})
		// A flood of CREDIT frames does no harm.
		raw.write(bytes.Repeat(most, 5000))
		settle()
		if c := st.Credit(); c.Messages != wire.MaxVarint || c.Bytes != wire.MaxVarint {
			t.Errorf("credit: %+v", c)
		}
		if err := st.Send(t.Context(), credited("hi")); err != nil {
			t.Errorf("sending: %v", err)
		}
	})
}

func TestUnknownFramesOnStreamsAreSkipped(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		opened := server.streams()
		r := w.client("web", server)
		raw := r.stream(append(wire.AppendVarint(nil, uint64(wire.StreamCall)), headers("stream", time.Second)...))
		raw.write(join(frame(0x9d, 0, "grease"), frame(wire.KindHeartbeat, 0, ""), frame(wire.KindPattern, 0xe0, "hi")))
		if got := (<-opened).mustRecv(t); got != "hi" {
			t.Errorf("got %q", got)
		}
	})
}
