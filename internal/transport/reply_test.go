package transport

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/wire"
)

// replies connects a client to a raw server that runs script after the first request on each stream.
func replies(w *world, limits Limits, script func(s *rawStream)) *Session {
	w.t.Helper()
	server := w.rawServer("orders", serving(func(s *rawStream) {
		if _, err := s.request(true); err == nil {
			script(s)
		}
	}))
	s, err := w.quiet("web", limits).dial(server)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// say writes parts. It ignores errors, because the client may have ended the stream.
func (s *rawStream) say(parts ...[]byte) {
	for _, b := range parts {
		_, _ = s.Write(b)
	}
}

func TestClientTakesReplies(t *testing.T) {
	big := strings.Repeat("r", 300<<10)
	long := wire.AppendStatus(nil, &wire.Status{Code: 8, Message: strings.Repeat("x", 4<<10), Metadata: []wire.Pair{{Key: "a", Value: "b"}}}, 0)
	for _, test := range []struct {
		name   string
		reply  []byte
		want   string
		has    bool
		status uint64
	}{
		{"OK", join(data("hi"), wire.AppendOK(nil, 0)), "hi", true, 0},
		{"empty message", join(data(""), wire.AppendOK(nil, 0)), "", true, 0},
		{"no message", wire.AppendOK(nil, 0), "", false, 0},
		{"large message", join(data(big), wire.AppendOK(nil, 0)), big, true, 0},
		{"message of 2 KiB", join(data(big[:2<<10]), wire.AppendOK(nil, 0)), big[:2<<10], true, 0},
		{"error", wire.AppendStatus(nil, &wire.Status{Code: 5, Message: "no"}, 0), "", false, 5},
		{"error that fits no buffer", long, "", false, 8},
		{"message and long STATUS", join(data("hi"), long), "hi", true, 8},
		{"large message and long STATUS", join(data(big), long), big, true, 8},
		{"unknown frames everywhere", join(frame(0x9d, 0, "g"), data("hi"), frame(0x9d, 0, big[:10<<10]), wire.AppendOK(nil, 0)), "hi", true, 0},
		{"large message and unknown frames", join(data(big), frame(0x9d, 0, big), wire.AppendOK(nil, 0)), big, true, 0},
		{"unknown status code", wire.AppendStatus(nil, &wire.Status{Code: 4711}, 0), "", false, 4711},
	} {
		for _, piece := range []int{0, 1, 700} {
			if piece == 1 && len(test.reply) > 10<<10 {
				continue // one packet per byte takes too long
			}
			t.Run(fmt.Sprintf("%s in pieces of %d", test.name, piece), func(t *testing.T) {
				inWorld(t, func(w *world) {
					t := w.t
					s := replies(w, Limits{}, func(s *rawStream) {
						size := piece
						if size == 0 {
							size = len(test.reply)
						}
						for b := test.reply; len(b) > 0; b = b[min(size, len(b)):] {
							s.say(b[:min(size, len(b))])
							if piece != 0 && len(test.reply) < 10<<10 {
								idle(latency / 10)
							}
						}
					})
					now := time.Now()
					var reply Reply
					err := s.Call(t.Context(), now, now.Add(10*time.Second), &wire.Headers{Route: "any"}, data("q"), &reply)
					if err != nil {
						t.Fatal(err)
					}
					defer reply.Release()
					if string(reply.Message) != test.want || (reply.Message != nil) != test.has || reply.Status.Code != test.status {
						t.Errorf("got %d bytes (%.10q), %+v", len(reply.Message), reply.Message, reply.Status)
					}
				})
			})
		}
	}
}

// TestClientFails checks that a call without a valid reply fails and is never taken for a success, and that the next
// call takes another stream.
func TestClientFails(t *testing.T) {
	ok := wire.AppendOK(nil, 0)
	for _, test := range []struct {
		name      string
		script    func(s *rawStream)
		want      Reason
		words     []string
		processed bool // a handler may have seen the call
	}{
		{"FIN before STATUS", func(s *rawStream) { s.Finish() }, ReasonLost, []string{"STATUS"}, true},
		{"FIN after DATA", func(s *rawStream) { s.say(data("hi")); s.Finish() }, ReasonLost, []string{"STATUS"}, true},
		{"FIN inside DATA", func(s *rawStream) { s.say(data("hello")[:4]); s.Finish() }, ReasonLost, nil, true},
		{"FIN inside STATUS", func(s *rawStream) { s.say(ok[:3]); s.Finish() }, ReasonLost, nil, true},
		{"connection closed", func(s *rawStream) { s.say(data("hi")); s.hangUp() }, ReasonLost, []string{"bye"}, true},
		{"reset REFUSED", func(s *rawStream) { s.CancelWrite(4) }, ReasonRefused, nil, false},
		{"reset OVERLOADED", func(s *rawStream) { s.CancelWrite(6) }, ReasonOverloaded, nil, false},
		{"reset GOING_AWAY", func(s *rawStream) { s.CancelWrite(7) }, ReasonDraining, nil, false},
		{"reset LIMIT", func(s *rawStream) { s.CancelWrite(0xc) }, ReasonLimit, nil, true},
		{"reset PROTOCOL", func(s *rawStream) { s.CancelWrite(2) }, ReasonProtocol, nil, true},
		{"reset with an unknown code", func(s *rawStream) { s.CancelWrite(0x1234) }, ReasonReset, nil, true},
		{"garbage", func(s *rawStream) { s.say([]byte(strings.Repeat("\xff", 100))) }, ReasonProtocol, nil, true},
		{"STATUS that is not CBOR", func(s *rawStream) { s.say(frame(wire.KindStatus, wire.FlagCritical, "\xff")) }, ReasonProtocol, nil, true},
		{"STATUS above 16 KiB", func(s *rawStream) {
			s.say(wire.AppendFrameHeader(nil, wire.FrameHeader{Kind: wire.KindStatus, Length: wire.MaxHeader + 1}))
		}, ReasonProtocol, nil, true},
		{"two DATA", func(s *rawStream) { s.say(data("a"), data("b"), ok) }, ReasonProtocol, nil, true},
		{"two empty DATA", func(s *rawStream) { s.say(data(""), data(""), ok) }, ReasonProtocol, nil, true},
		{"compressed DATA", func(s *rawStream) { s.say(frame(wire.KindData, wire.FlagCompressed, "a"), ok) }, ReasonProtocol, nil, true},
		{"fragmented DATA", func(s *rawStream) { s.say(frame(wire.KindData, wire.FlagMore, "a"), ok) }, ReasonProtocol, nil, true},
		{"unknown critical frame", func(s *rawStream) { s.say(frame(0x9d, wire.FlagCritical, "a"), ok) }, ReasonProtocol, nil, true},
		{"HEADERS as a reply", func(s *rawStream) { s.say(headers("echo", 1), ok) }, ReasonProtocol, nil, true},
		{"reply above the limit", func(s *rawStream) { s.say(data(strings.Repeat("x", 100<<10+1)), ok) }, ReasonLimit, []string{"102401", "102400"}, true},
		{"length of 2^62-1", func(s *rawStream) {
			s.say(wire.AppendFrameHeader(nil, wire.FrameHeader{Kind: wire.KindData, Length: wire.MaxVarint}))
		}, ReasonLimit, nil, true},
		{"unknown frame of 2^62-1", func(s *rawStream) {
			s.say(wire.AppendFrameHeader(nil, wire.FrameHeader{Kind: 0x9d, Length: wire.MaxVarint}), data("x"))
			s.Finish()
		}, ReasonLost, nil, true},
		{"silence", func(*rawStream) {}, ReasonCanceled, []string{"deadline"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				var again atomic.Bool
				s := replies(w, Limits{MaxMessage: 100 << 10}, func(s *rawStream) {
					if !again.Swap(true) {
						test.script(s)
						return
					}
					s.say(data("honest"), ok)
				})
				_, _, err := call(t.Context(), s, "echo", "q")
				e := failure(t, err, test.want)
				if e.NotProcessed == test.processed {
					t.Errorf("%q: not processed: %t", e, e.NotProcessed)
				}
				if !containsAll(e.Error(), test.words...) {
					t.Errorf("%q lacks one of %q", e, test.words)
				}
				if test.name != "connection closed" && !s.ended() {
					mustEcho(t, s)
				}
			})
		})
	}
}

// hangUp closes the connection of the stream once everything written has arrived.
func (s *rawStream) hangUp() {
	idle(10 * latency)
	s.conn.conn.Close(0, "bye")
}

// TestStatusBeforeResetIsRead checks that an early STATUS counts although the rest of the request was never read.
func TestStatusBeforeResetIsRead(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.rawServer("orders", serving(func(s *rawStream) {
			buf := make([]byte, 100)
			_, _ = s.Read(buf)
			s.say(wire.AppendStatus(nil, &wire.Status{Code: 8, Message: "too large", Refused: true}, wire.FlagLast))
			s.MarkReliable()
			s.CancelWrite(0xc)
			s.CancelRead(0xc)
		}))
		s, err := w.quiet("web", Limits{}).dial(server)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{10, 20 << 10, 60 << 10, 3 << 20} {
			_, status, err := call(t.Context(), s, "echo", strings.Repeat("m", size))
			if err != nil || status.Code != 8 || !status.Refused {
				t.Errorf("call with %d bytes: %+v, %v; want the STATUS", size, status, err)
			}
		}
	})
}

func TestRequestTooLargeForTheServer(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{MaxMessage: 1 << 20})
		s := w.quiet("web", Limits{}).connect(server)
		_, status, err := call(t.Context(), s, "echo", strings.Repeat("m", 3<<20))
		if err != nil || status.Code != 8 || !containsAll(status.Message, "Limits.MaxMessage", "3145728", "1048576") {
			t.Errorf("got %+v, %v", status, err)
		}
		mustEcho(t, s)
	})
}

func TestHeadersTooLargeToSend(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{Streams: StreamLimits{PerConnection: 2}})
		s := w.quiet("web", Limits{}).connect(server)
		h := wire.Headers{Route: "echo", Metadata: []wire.Pair{{Key: "k", Value: strings.Repeat("v", 17<<10)}}}
		// There are fewer streams than calls, so a call that fails must not keep one.
		for range 5 {
			now := time.Now()
			err := s.Call(t.Context(), now, now.Add(time.Second), &h, data("x"), &Reply{})
			e := failure(t, err, ReasonLimit)
			if le, ok := errors.AsType[*wire.LimitError](err); !ok || le.Limit != wire.MaxHeader || !e.NotProcessed {
				t.Fatalf("the error is %v", err)
			}
			ctx, cancel := withTimeout(t, time.Second)
			_, err = s.Open(ctx, &h)
			cancel()
			mustFail(t, err, ReasonLimit)
		}
		mustEcho(t, s)
	})
}

// TestSplitAnywhere cuts the golden unary call at every offset, because it must not matter where packets end.
func TestSplitAnywhere(t *testing.T) {
	request := golden(t, "unary.txtar", "01 client stream 0")
	response := golden(t, "unary.txtar", "02 server stream 0")
	t.Run("request", func(t *testing.T) {
		inWorld(t, func(w *world) {
			t := w.t
			server := w.node("orders", Limits{})
			r := w.client("web", server)
			want := ""
			for i := 1; i <= len(request); i++ {
				st := r.stream(request[:i])
				pass(3 * latency)
				st.write(request[i:])
				got := st.reply()
				if want == "" {
					want = got.message
				}
				if got.err != nil || got.status.Code != 0 || got.message != want || want == "" {
					t.Fatalf("cut at %d: %+v", i, got)
				}
				st.CancelRead(0)
				st.Finish()
			}
		})
	})
	t.Run("reply", func(t *testing.T) {
		inWorld(t, func(w *world) {
			t := w.t
			i := 0
			server := w.rawServer("orders", serving(func(s *rawStream) {
				for n := 0; ; n++ {
					if _, err := s.request(n == 0); err != nil {
						return
					}
					response := bytes.Clone(response)
					// The golden response ends with a plain OK.
					response[len(response)-len(wire.AppendOK(nil, 0))+1] |= byte(oddOf(n))
					// The next call, which changes i, may begin before the rest is sent.
					cut := i
					s.say(response[:cut])
					idle(3 * latency)
					s.say(response[cut:])
				}
			}))
			s, err := w.quiet("web", Limits{}).dial(server)
			if err != nil {
				t.Fatal(err)
			}
			want := ""
			for ; i <= len(response); i++ {
				got, status, err := call(t.Context(), s, "get", "q")
				if want == "" {
					want = got
				}
				if err != nil || status.Code != 0 || got != want || want == "" {
					t.Fatalf("cut at %d: %q, %+v, %v", i, got, status, err)
				}
			}
		})
	})
}

// TestAReplyHoldsNothingOfTheCallBefore uses a Reply again, as a retry does: after a call that failed behind its message,
// and after Release.
func TestAReplyHoldsNothingOfTheCallBefore(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		var calls atomic.Int32
		s := replies(w, Limits{}, func(s *rawStream) {
			switch calls.Add(1) {
			case 1:
				s.say(data("first"))
				s.Finish()
			case 2:
				s.say(data("second"), wire.AppendStatus(nil, &wire.Status{Code: 5, Message: "no"}, wire.FlagLast))
			default:
				s.say(wire.AppendOK(nil, wire.FlagLast))
			}
		})
		var reply Reply
		one := func() error {
			now := time.Now()
			return s.Call(t.Context(), now, now.Add(time.Second), &wire.Headers{Route: "any"}, data("q"), &reply)
		}
		if err := one(); err == nil || reply.Message != nil || reply.lease != nil {
			t.Fatalf("the call without a status: %v, and %+v", err, reply)
		}
		if err := one(); err != nil || string(reply.Message) != "second" || reply.Status.Code != 5 {
			t.Fatalf("the next: %v, and %+v", err, reply)
		}
		reply.Release()
		reply.Release()
		if err := one(); err != nil || reply.Message != nil || reply.Status.Code != 0 || reply.Status.Message != "" {
			t.Fatalf("the last: %v, and %+v", err, reply)
		}
		reply.Release()
	})
}

// TestALeaseWithBytesBehindItsStatusIsNotUsedAgain has a server send bytes that would answer the next call.
func TestALeaseWithBytesBehindItsStatusIsNotUsedAgain(t *testing.T) { // SEC-325
	for _, behind := range [][]byte{
		join(data("forged"), wire.AppendOK(nil, 0)),
		frame(0x9d, 0, "grease"),
		{0x02}, // part of a frame
	} {
		inWorld(t, func(w *world) {
			t := w.t
			var streams atomic.Int64
			s := replies(w, Limits{}, func(s *rawStream) {
				streams.Add(1)
				s.say(join(data("own"), wire.AppendOK(nil, 0), behind))
			})
			for i := range 3 {
				if got, _, err := call(t.Context(), s, "any", ""); err != nil || got != "own" {
					t.Errorf("call %d: %q, %v", i, got, err)
				}
			}
			if n := streams.Load(); n != 3 {
				t.Errorf("3 calls took %d streams", n)
			}
		})
	}
}

// oddOf returns the flag of the STATUS of the nth call on a stream, counted from 0.
func oddOf(n int) wire.Flags {
	if n%2 == 1 {
		return wire.FlagOdd
	}
	return 0
}

// TestASecondReplyNeverAnswersTheNextCall has a server reply twice, the second time when
// the lease is idle.
func TestASecondReplyNeverAnswersTheNextCall(t *testing.T) { // SEC-325
	for name, second := range map[string][]byte{
		"a whole reply": join(data("second"), wire.AppendOK(nil, 0)),
		"an error":      wire.AppendStatus(nil, &wire.Status{Code: 5, Message: "second"}, 0),
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				var streams atomic.Int64
				server := w.rawServer("orders", serving(func(s *rawStream) {
					mine := streams.Add(1)
					for n := 0; ; n++ {
						if _, err := s.request(n == 0); err != nil {
							return
						}
						s.say(data("own"), wire.AppendOK(nil, oddOf(n)))
						if mine == 1 && n == 0 {
							// By then the client has taken the reply, and the lease is idle.
							idle(10 * latency)
							s.say(second)
						}
					}
				}))
				s, err := w.quiet("web", Limits{}).dial(server)
				if err != nil {
					t.Fatal(err)
				}
				mustOwn := func() {
					t.Helper()
					if got, _, err := call(t.Context(), s, "any", ""); err != nil || got != "own" {
						t.Errorf("%q, %v; want the reply of this call", got, err)
					}
				}
				mustOwn()
				pass(time.Second)
				got, status, err := call(t.Context(), s, "any", "")
				if err == nil {
					t.Errorf("the next call was answered %q, %+v by the second reply to the one before", got, status)
				} else if e := failure(t, err, ReasonProtocol); e.NotProcessed {
					t.Errorf("%q says that no handler saw the call", e)
				}
				for range 3 {
					mustOwn()
				}
				if n := streams.Load(); n != 2 {
					t.Errorf("the calls took %d streams, want one more for what came after the fault", n)
				}
			})
		})
	}
}
