package transport

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/wire"
)

// withMetadata returns a HEADERS frame with about n bytes of metadata.
func withMetadata(route string, n int) []byte {
	h := wire.Headers{Route: route, Timeout: 5_000_000}
	for i := range (n + 1023) / 1024 {
		h.Metadata = append(h.Metadata, wire.Pair{Key: fmt.Sprintf("k%02d", i), Value: strings.Repeat("v", 1000)})
	}
	return wire.AppendHeaders(nil, &h)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func calls() []byte { return wire.AppendVarint(nil, uint64(wire.StreamCalls)) }

// TestServerAnswers makes requests that are valid, however odd they look.
func TestServerAnswers(t *testing.T) {
	big := strings.Repeat("m", 300<<10)
	for _, test := range []struct {
		name    string
		request []byte
		want    string
	}{
		{"plain", join(headers("echo", time.Second), data("hi")), "hi"},
		{"by number", join(wire.AppendHeaders(nil, &wire.Headers{RouteID: 0, Timeout: 1e6}), data("hi")), "hi"},
		{"empty message", join(headers("echo", time.Second), data("")), ""},
		{"message of 2 KiB", join(headers("echo", time.Second), data(big[:2<<10])), big[:2<<10]},
		{"large message", join(headers("echo", time.Second), data(big)), big},
		{"large HEADERS", join(withMetadata("echo", 7<<10), data("hi")), "hi"},
		{"large HEADERS and a large message", join(withMetadata("echo", 7<<10), data(big)), big},
		{"large HEADERS and a message of 3 KiB", join(withMetadata("echo", 3<<10), data(big[:3<<10])), big[:3<<10]},
		{"unknown frame before DATA", join(headers("echo", time.Second), frame(0x9d, 0, "grease"), data("hi")), "hi"},
		{"large unknown frame before DATA", join(headers("echo", time.Second), frame(0x9d, 0, big[:60<<10]), data("hi")), "hi"},
		{"large unknown frame before large DATA", join(withMetadata("echo", 3<<10), frame(0x9d, 0, big[:60<<10]), data(big)), big},
		{"unknown flags", join(headers("echo", time.Second), frame(wire.KindData, 0xe0, "hi")), "hi"},
		{"HEADERS of the longest route name", join(headers(strings.Repeat("r", wire.MaxName), time.Second), data("hi")), "long"},
		{"timeout of a century", join(wire.AppendHeaders(nil, &wire.Headers{Route: "echo", Timeout: 1<<64 - 1}), data("hi")), "hi"},
		// The handler decides what to do when no time is left.
		{"no time left", join(headers("echo", 0), data("hi")), "hi"},
	} {
		for _, typ := range []wire.StreamType{wire.StreamCall, wire.StreamCalls} {
			t.Run(fmt.Sprintf("%s on %#x", test.name, typ), func(t *testing.T) {
				inEach(t, func(w *world) {
					t := w.t
					server := w.node("orders", Limits{})
					server.handler.onCall(strings.Repeat("r", wire.MaxName), func(c *Call) { answer(c, "long") })
					r := w.client("web", server)
					st := r.stream(append(wire.AppendVarint(nil, uint64(typ)), test.request...))
					got := st.reply()
					if got.err != nil || !got.has || got.message != test.want || got.status.Code != 0 {
						t.Fatalf("reply: %d bytes (%.20q), %+v, %v; want %d bytes", len(got.message), got.message, got.status, got.err, len(test.want))
					}
					if got.last != (typ == wire.StreamCall) {
						t.Errorf("STATUS is the last: %t", got.last)
					}
					// A CALLS stream carries the next call, too, and a FIN between calls is clean.
					if typ == wire.StreamCalls {
						st.write(test.request)
						if again := st.reply(); again.err != nil || again.message != test.want {
							t.Errorf("the next call: %d bytes, %+v, %v", len(again.message), again.status, again.err)
						}
						st.Finish()
						if code, clean := st.ended(); !clean {
							t.Errorf("after our FIN the stream was reset with %v", code)
						}
					}
					settle()
					if used := server.pools.bytes.Used(); used != 0 {
						t.Errorf("%d bytes in flight when nothing is", used)
					}
				})
			})
		}
	}
}

// TestServerRefuses makes requests that are answered with a STATUS, which can be
// read even if the stream ends behind it.
func TestServerRefuses(t *testing.T) {
	limits := Limits{MaxMessage: 100 << 10}
	for _, test := range []struct {
		name    string
		request []byte
		code    uint64
		words   []string
		last    bool
	}{
		{
			"message above the limit", join(headers("echo", time.Second), data(strings.Repeat("m", 100<<10+1))), 8,
			[]string{"Limits.MaxMessage", "102401", "102400"},
			true,
		},
		{
			"only the length of a message above the limit",
			join(headers("echo", time.Second), wire.AppendFrameHeader(nil, wire.FrameHeader{Kind: wire.KindData, Length: wire.MaxVarint})), 8,
			[]string{"Limits.MaxMessage"},
			true,
		},
		{"message above the limit of the route", join(headers("narrow", time.Second), data("12345")), 8, []string{"5 bytes", "4 bytes"}, true},
		{"unknown route", join(headers("nobody", time.Second), data("hi")), 12, []string{"nobody"}, false},
		{"unknown route with a large message", join(headers("nobody", time.Second), data(strings.Repeat("m", 90<<10))), 12, []string{"nobody"}, true},
		{"unknown number", join(wire.AppendHeaders(nil, &wire.Headers{RouteID: 99, Timeout: 1e6}), data("hi")), 12, nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inEach(t, func(w *world) {
				t := w.t
				server := w.node("orders", limits)
				server.handler.route("narrow", Route{Value: named{"narrow", callFunc(echo)}, MaxMessage: 4})
				honest := w.quiet("web", Limits{}).connect(server)
				r := w.client("mallory", server)
				st := r.stream(join(calls(), test.request[:min(len(test.request), 4<<10)]))
				// This write fails if the server stops the stream.
				go func() { _, _ = st.Write(test.request[min(len(test.request), 4<<10):]) }()
				got := st.reply()
				if got.err != nil || got.has || got.status.Code != test.code || !containsAll(got.status.Message, test.words...) {
					t.Fatalf("reply: %+v, want code %d with %q", got, test.code, test.words)
				}
				if got.last != test.last {
					t.Errorf("STATUS is the last: %t, want %t", got.last, test.last)
				}
				if test.last {
					if code, clean := st.ended(); !clean {
						t.Errorf("the stream was reset with %v behind its STATUS, want a FIN", code)
					}
				}
				if n := server.handler.count("echo") + server.handler.count("narrow"); n != 0 {
					t.Errorf("handlers ran %d times", n)
				}
				mustEcho(t, honest)
				r.mustEcho()
			})
		})
	}
}

// TestServerResets makes requests that end in a reset. No handler sees them.
func TestServerResets(t *testing.T) {
	h := headers("echo", time.Second)
	limit := func(kind wire.Kind, n uint64) []byte {
		return wire.AppendFrameHeader(nil, wire.FrameHeader{Kind: kind, Flags: wire.FlagCritical, Length: n})
	}
	for _, test := range []struct {
		name    string
		request []byte
		fin     bool
		want    wire.Code
	}{
		{"DATA before HEADERS", data("hi"), false, wire.CodeProtocol},
		{"STATUS from the client", wire.AppendOK(nil, 0), false, wire.CodeProtocol},
		{"unknown frame before HEADERS", join(frame(0x9d, 0, "grease"), h, data("hi")), false, wire.CodeProtocol},
		{"HEADERS twice", join(h, h, data("hi")), false, wire.CodeProtocol},
		{"unknown critical frame", join(h, frame(0x9d, wire.FlagCritical, "x"), data("hi")), false, wire.CodeProtocol},
		{"compressed DATA", join(h, frame(wire.KindData, wire.FlagCompressed, "hi")), false, wire.CodeProtocol},
		{"fragmented DATA", join(h, frame(wire.KindData, wire.FlagMore, "hi")), false, wire.CodeProtocol},
		{"HEADERS that are not CBOR", join(frame(wire.KindHeaders, wire.FlagCritical, "\xff\xff\xff"), data("hi")), false, wire.CodeProtocol},
		{"HEADERS without a timeout", join(frame(wire.KindHeaders, wire.FlagCritical, "\xa1\x01\x00"), data("hi")), false, wire.CodeProtocol},
		{"HEADERS with keys out of order", join(frame(wire.KindHeaders, wire.FlagCritical, "\xa2\x02\x00\x01\x00"), data("hi")), false, wire.CodeProtocol},
		{"HEADERS with bytes behind", join(frame(wire.KindHeaders, wire.FlagCritical, "\xa2\x01\x00\x02\x00\x00"), data("hi")), false, wire.CodeProtocol},
		{"empty HEADERS", join(frame(wire.KindHeaders, wire.FlagCritical, ""), data("hi")), false, wire.CodeProtocol},
		{"HEADERS above 16 KiB", limit(wire.KindHeaders, wire.MaxHeader+1), false, wire.CodeLimit},
		{"HEADERS of the largest length", limit(wire.KindHeaders, wire.MaxVarint), false, wire.CodeLimit},
		{"unknown frame above 64 KiB", join(h, wire.AppendFrameHeader(nil, wire.FrameHeader{Kind: 0x9d, Length: wire.MaxControl + 1})), false, wire.CodeLimit},
		{"half of a frame header, then FIN", h[:3], true, wire.CodeProtocol},
		{"half of HEADERS, then FIN", h[:10], true, wire.CodeProtocol},
		{"FIN instead of DATA", h, true, wire.CodeProtocol},
		{"half of DATA, then FIN", join(h, data("hello")[:5]), true, wire.CodeProtocol},
		{"half of large DATA, then FIN", join(h, data(strings.Repeat("m", 10<<10))[:5<<10]), true, wire.CodeProtocol},
		{"CBOR bomb", frame(wire.KindHeaders, wire.FlagCritical, "\xa3\x01\x00\x02\x00\x18\x63"+strings.Repeat("\x81", 10_000)+"\x00"), false, wire.CodeProtocol},
		{"metadata above its limit", join(withMetadata("echo", 9<<10), data("hi")), false, wire.CodeLimit},
	} {
		for _, typ := range []wire.StreamType{wire.StreamCall, wire.StreamCalls} {
			t.Run(fmt.Sprintf("%s on %#x", test.name, typ), func(t *testing.T) {
				inEach(t, func(w *world) {
					t := w.t
					server := w.node("orders", Limits{})
					r := w.client("mallory", server)
					st := r.stream(append(wire.AppendVarint(nil, uint64(typ)), test.request...))
					if test.fin {
						st.Finish()
					}
					st.mustReset(test.want)
					if n := server.handler.count("echo"); n != 0 {
						t.Errorf("the handler ran %d times", n)
					}
					settle()
					if used := server.pools.bytes.Used(); used != 0 {
						t.Errorf("%d bytes in flight when nothing is", used)
					}
					// Only the stream has ended, not the connection.
					r.mustEcho()
				})
			})
		}
	}
}

func TestStreamTypeThatNeverComes(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		r := w.client("mallory", server)
		st := r.stream(nil)
		st.Finish()
		st.mustReset(wire.CodeProtocol)
		// This is the first byte of a varint of 8 bytes.
		st = r.stream([]byte{0xc0})
		start := time.Now()
		st.mustReset(wire.CodeLimit)
		if took := time.Since(start); took > 5*time.Second+time.Second {
			t.Errorf("reset after %v, want Limits.Streams.FirstHeader", took)
		}
		r.mustEcho()
	})
}

// TestSecondDataIsNoPartOfTheCall checks that a call that has its message is served.
// The second DATA then resets the stream, because HEADERS must follow a call.
func TestSecondDataIsNoPartOfTheCall(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		r := w.client("mallory", server)
		st := r.stream(join(calls(), headers("echo", time.Second), data("one"), frame(wire.KindData, wire.FlagCritical, "two")))
		if got := st.reply(); got.err != nil || got.message != "one" {
			t.Errorf("the call: %+v", got)
		}
		st.mustReset(wire.CodeProtocol)
		if n := server.handler.count("echo"); n != 1 {
			t.Errorf("the handler ran %d times, want once", n)
		}
	})
}

func TestPipelinedCallsAreServedInOrder(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		r := w.client("web", server)
		var b []byte
		for i := range 50 {
			b = append(b, callFrames("echo", time.Second, fmt.Sprint("message ", i))...)
		}
		st := r.stream(append(calls(), b...))
		for i := range 50 {
			if got := st.reply(); got.err != nil || got.message != fmt.Sprint("message ", i) {
				t.Fatalf("reply %d: %+v", i, got)
			}
		}
		if peak := server.handler.peak.Load(); peak != 1 {
			t.Errorf("%d handlers ran at once for one stream", peak)
		}
	})
}

// TestMessageMayWaitForItsTurn checks that DATA may come long after HEADERS, because
// large messages of one connection are sent one after another.
func TestMessageMayWaitForItsTurn(t *testing.T) {
	inEach(t, func(w *world) {
		server := w.node("orders", Limits{})
		r := w.client("web", server)
		st := r.stream(append(calls(), headers("echo", 20*time.Second)...))
		idle(15 * time.Second)
		st.write(data("at last"))
		if got := st.reply(); got.err != nil || got.message != "at last" {
			t.Errorf("got %+v", got)
		}
		// The deadline of a call does not end its stream.
		idle(20 * time.Second)
		st.write(callFrames("echo", time.Second, "again"))
		if got := st.reply(); got.err != nil || got.message != "again" {
			t.Errorf("the next call: %+v", got)
		}
	})
}
