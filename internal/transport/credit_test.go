package transport

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/wire"
)

func patternStream(route string) []byte {
	return append(wire.AppendVarint(nil, uint64(wire.StreamCall)), headers(route, time.Minute)...)
}

// TestFramesWithoutCreditCostNothing checks that a frame that is not allowed is rejected by its
// header, without waiting for its body or making room for it.
func TestFramesWithoutCreditCostNothing(t *testing.T) { // SEC-320
	for _, test := range []struct {
		name  string
		flags wire.Flags
		size  uint64
	}{
		{"credited, and there is no credit", wire.FlagCredited, 4 << 20},
		{"without credit, above PendingBytes", 0, 4 << 20},
		{"above MaxMessage", 0, 4<<20 + 1},
		{"unknown, and longer than may be skipped", 0, 4 << 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			inEach(t, func(w *world) {
				t := w.t
				server := w.node("orders", Limits{MaxMessage: 4 << 20})
				server.handler.onStream("stream", func(s *Stream) { <-s.Canceled().Done() })
				honest := w.quiet("web", Limits{}).connect(server)
				r := w.client("mallory", server)
				kind := wire.KindPattern
				if strings.HasPrefix(test.name, "unknown") {
					kind = 0x9d
				}
				var all []*rawStream
				for range 150 {
					st := r.attempt(patternStream("stream"))
					if st == nil {
						break
					}
					st.say(wire.AppendFrameHeader(nil, wire.FrameHeader{Kind: kind, Flags: test.flags, Length: test.size}))
					all = append(all, st)
				}
				start := time.Now()
				// A correct peer never sends a credited frame without credit, so the connection is closed.
				if test.flags == wire.FlagCredited {
					r.mustClose(wire.CodeLimit)
					all = nil
				}
				for _, st := range all {
					st.mustReset(wire.CodeLimit)
				}
				if waited := time.Since(start); waited > time.Second {
					t.Errorf("it waited %v for bodies that must not come", waited)
				}
				if used := server.pools.bytes.Used(); used != 0 {
					t.Errorf("%d bytes are held", used)
				}
				mustEcho(t, honest)
			})
		})
	}
}

// TestRepliesOfAHostileServerAreBounded checks that the replies of one server take no more than its
// share of the client's memory, and that calls to other servers go on.
func TestRepliesOfAHostileServerAreBounded(t *testing.T) { // SEC-321
	inEach(t, func(w *world) {
		t := w.t
		const limit = 16 << 20
		message := strings.Repeat("r", 1<<20)
		hostile := w.rawServer("mallory", serving(func(s *rawStream) {
			if _, err := s.request(true); err == nil {
				// STATUS never follows, so the client holds the message.
				s.say(data(message))
			}
		}))
		server := w.node("orders", Limits{})
		client := w.quiet("web", Limits{InFlightBytes: limit})
		s, err := client.dial(hostile)
		if err != nil {
			t.Fatal(err)
		}
		honest := client.connect(server)
		const calls = 60
		results := make(chan error, calls)
		for range calls {
			go func() {
				_, _, err := callWithin(t.Context(), s, 20*time.Second, "any", "")
				results <- err
			}()
		}
		pass(10 * time.Second)
		if used := client.pools.bytes.Used(); used > limit/2 || used < limit/4 {
			t.Errorf("%d bytes are held for a hostile server, want what is its share of %d", used, limit)
		}
		big := strings.Repeat("m", 1<<20)
		if got, status, err := call(t.Context(), honest, "echo", big); err != nil || status.Code != 0 || got != big {
			t.Errorf("a call to an honest server: %d bytes, %+v, %v", len(got), status, err)
		}
		overloaded := 0
		for range calls {
			e, _ := errors.AsType[*Error](<-results)
			if e == nil || e.NotProcessed {
				t.Fatalf("a call to the hostile server ended with %v, NotProcessed: %t", e, e != nil && e.NotProcessed)
			}
			if e.Reason == ReasonOverloaded {
				overloaded++
				if !containsAll(e.Error(), "Limits.InFlightBytes") {
					t.Errorf("%q does not name the limit", e)
				}
			}
		}
		if overloaded == 0 {
			t.Error("no reply was refused: nothing was tested")
		}
		settle()
		if used := client.pools.bytes.Used(); used != 0 {
			t.Errorf("%d bytes are held when nothing is under way", used)
		}
	})
}

// TestAShedStreamMayHaveRun checks that the error of a stream that is ended for lack of memory while
// its handler runs does not say NotProcessed, so that the caller does not retry elsewhere.
func TestAShedStreamMayHaveRun(t *testing.T) { // SEC-322
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{InFlightBytes: 256 << 10, MaxMessage: 64 << 10, Streams: StreamLimits{PendingBytes: 256 << 10}})
		opened := server.streams()
		client := w.quiet("web", Limits{}).connect(server)
		st := openStream(t, client, wire.Credit{})
		handled := <-opened
		// Other peers use up Limits.InFlightBytes.
		for i := range 8 {
			slow := w.client(fmt.Sprintf("mallory%d", i), server).stream(calls())
			slow.say(headers("echo", time.Minute), data(strings.Repeat("m", 64<<10))[:60<<10])
		}
		settle()
		err := st.Send(t.Context(), plain(strings.Repeat("x", 60<<10)))
		if err == nil {
			_, err = st.Recv(t.Context())
		}
		if e := failure(t, err, ReasonLimit); e.NotProcessed || e.Code.NotProcessed() {
			t.Errorf("%v says that no handler ran", e)
		}
		err = nil
		for err == nil {
			_, err = handled.Recv(t.Context())
		}
		if e, _ := errors.AsType[*Error](err); e == nil || e.NotProcessed {
			t.Errorf("the handler got %+v", err)
		}
	})
}

// TestAResetBehindFramesIsNoRefusal checks that a reset after the first frame of an answer does not
// count as a refusal, whatever its code: the handler has run.
func TestAResetBehindFramesIsNoRefusal(t *testing.T) { // SEC-322
	for _, code := range []wire.Code{wire.CodeRefused, wire.CodeOverloaded, wire.CodeGoingAway} {
		for _, answered := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, answered %t", code, answered), func(t *testing.T) {
				inEach(t, func(w *world) {
					t := w.t
					server := w.rawServer("orders", serving(func(s *rawStream) {
						// The varint is the type of the stream.
						_, _ = s.frames.varint()
						h, _, _ := s.frames.next()
						if answered && h.Kind == wire.KindHeaders {
							s.say(data("part of an answer"))
							settle()
						}
						s.CancelRead(code)
						s.CancelWrite(code)
					}))
					s, err := w.quiet("web", Limits{}).dial(server)
					if err != nil {
						t.Fatal(err)
					}
					st, err := s.Open(t.Context(), &wire.Headers{Route: "any"})
					for err == nil {
						_, err = st.Recv(t.Context())
					}
					e, _ := errors.AsType[*Error](err)
					if e == nil || e.NotProcessed == answered {
						t.Errorf("a stream: %+v", err)
					}
					_, _, err = call(t.Context(), s, "any", "x")
					if e, _ = errors.AsType[*Error](err); e == nil || e.NotProcessed == answered {
						t.Errorf("a call: %+v", err)
					}
				})
			})
		}
	}
}

// TestCreditOutlivesTheEndOfInput checks that a client can still grant credit for answers after it has
// ended its input.
func TestCreditOutlivesTheEndOfInput(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		const answers = 100
		server.handler.onStream("stream", func(s *Stream) {
			n := 0
			for {
				_, err := s.Recv(s.Canceled())
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Error(err)
					return
				}
				n++
			}
			for i := range answers {
				if err := s.Send(s.Canceled(), credited(fmt.Sprint(i))); err != nil {
					t.Errorf("answer %d: %v", i, err)
				}
			}
			if err := s.End(); !errors.Is(err, io.EOF) {
				t.Errorf("the end of the input is %v, want io.EOF", err)
			}
			s.Finish(&wire.Status{Code: 5, Message: fmt.Sprint(n)})
		})
		s := client.connect(server)
		st := openStream(t, s, wire.Credit{Messages: 1, Bytes: 10})
		for range 3 {
			if err := st.Send(t.Context(), plain("in")); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := st.CloseSend(); err != nil {
				t.Fatal(err)
			}
		}
		for i := range answers {
			if got := st.mustRecv(t); got != fmt.Sprint(i) {
				t.Fatalf("answer %d is %q", i, got)
			}
			if err := st.Grant(wire.Credit{Messages: 1, Bytes: 10}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := st.Recv(t.Context()); !errors.Is(err, io.EOF) {
			t.Errorf("the end is %v, want io.EOF", err)
		}
		if status := st.Status(); status == nil || status.Message != "3" {
			t.Errorf("STATUS: %+v", status)
		}
		settle()
		if n := server.pools.streams.Used(); n != 0 {
			t.Errorf("%d streams are open", n)
		}
	})
}

// TestCreditedFramesThatAreNotReadCountAsCredit checks that credited frames count toward maxCredit until
// they are read, like credit that the peer has not used yet.
func TestCreditedFramesThatAreNotReadCountAsCredit(t *testing.T) { // SEC-384
	inEach(t, func(w *world) {
		t := w.t
		const size = 1 << 20
		streams := maxCredit/size + 6
		server := w.node("orders", Limits{})
		var granted atomic.Int64
		read := make(chan struct{})
		server.handler.onStream("stream", func(s *Stream) {
			if s.Grant(wire.Credit{Messages: 1, Bytes: size}) != nil {
				return
			}
			granted.Add(1)
			select {
			case <-read:
				if _, err := s.Recv(t.Context()); err != nil {
					t.Error(err)
				}
				<-s.Canceled().Done()
			case <-s.Canceled().Done():
			}
		})
		client := w.quiet("web", Limits{}).connect(server)
		body := make([]byte, size)
		var sent []*Stream
		for range streams {
			st, err := client.Open(t.Context(), &wire.Headers{Route: "stream", Timeout: wire.MaxVarint})
			if err != nil {
				t.Fatal(err)
			}
			settle()
			if st.Credit().Bytes == size {
				if err := st.Send(t.Context(), Frame{Kind: wire.KindPattern, Flags: wire.FlagCredited, Body: body}); err != nil {
					t.Fatal(err)
				}
			}
			sent = append(sent, st)
			// The frame arrives meanwhile.
			pass(time.Second)
		}
		if n := granted.Load(); n != maxCredit/size {
			t.Errorf("%d streams got credit of 1 MiB, and nothing of it is read; want %d", n, maxCredit/size)
		}
		server.known.mu.Lock()
		var s *Session
		for one := range server.known.sessions {
			s = one
		}
		server.known.mu.Unlock()
		close(read)
		settle()
		if n := s.usage.credit.Load(); n != 0 {
			t.Errorf("%d bytes count as credit when all has been read", n)
		}
		for _, st := range sent {
			st.Cancel(wire.CodeCanceled)
		}
		settle()
		if n := s.usage.credit.Load(); n != 0 {
			t.Errorf("%d bytes count as credit when all streams have ended", n)
		}
	})
}

// TestCreditedFramesOfAStreamThatEndsAreForgotten checks that credited frames stop counting as credit
// when their stream ends, even if the handler has not read them.
func TestCreditedFramesOfAStreamThatEndsAreForgotten(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		server.handler.onStream("stream", func(s *Stream) {
			if err := s.Grant(wire.Credit{Messages: 1, Bytes: 1 << 20}); err != nil {
				t.Error(err)
			}
			<-s.Canceled().Done()
		})
		client := w.quiet("web", Limits{}).connect(server)
		st, err := client.Open(t.Context(), &wire.Headers{Route: "stream", Timeout: wire.MaxVarint})
		if err != nil {
			t.Fatal(err)
		}
		settle()
		if err := st.Send(t.Context(), Frame{Kind: wire.KindPattern, Flags: wire.FlagCredited, Body: make([]byte, 1000)}); err != nil {
			t.Fatal(err)
		}
		settle()
		server.known.mu.Lock()
		defer server.known.mu.Unlock()
		for s := range server.known.sessions {
			if n := s.usage.credit.Load(); n != 1<<20 {
				t.Errorf("%d bytes count as credit, want those that may come and those that came", n)
			}
			st.Cancel(wire.CodeCanceled)
			settle()
			if n := s.usage.credit.Load(); n != 0 {
				t.Errorf("%d bytes count as credit of a stream that has ended", n)
			}
		}
	})
}
