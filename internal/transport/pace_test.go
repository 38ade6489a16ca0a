package transport

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/wire"
)

// insistent sends request on stream after stream, as fast as the node allows and on up to streams of them at a time. It
// leaves a stream after the reply or, if idles, when the node ends the stream. It stops when the connection ends.
func (r *raw) insistent(request []byte, streams int, idles bool, tried *atomic.Int64) {
	for range streams {
		r.w.scripts.Go(func() {
			for {
				s, err := r.conn.Open(r.conn.Context())
				if err != nil {
					return
				}
				tried.Add(1)
				_ = s.SetWriteDeadline(time.Now().Add(time.Minute))
				// The node may stop the stream or reset it.
				_, _ = s.Write(request)
				st := &rawStream{t: r.t, conn: r, Stream: s, frames: frames{src: s}}
				_ = st.reply()
				if idles {
					_, _ = io.Copy(io.Discard, s)
				}
				s.CancelRead(0)
				s.CancelWrite(0)
			}
		})
	}
}

// TestRefusalsAreNoFasterThanTheirRate checks that a peer that is refused and retries at once gets no more attempts
// than Limits.Streams.RefusalRate allows, over all its connections.
func TestRefusalsAreNoFasterThanTheirRate(t *testing.T) { // SEC-329
	const rate, conns, streams, seconds = 100, 3, 20, 10
	for _, test := range []struct {
		name    string
		limits  Limits
		request []byte
		// hold is how many streams the attacker holds on each connection, each with a call that waits.
		hold int
		// cost is the cost of each attempt.
		cost int
	}{
		{"streams", Limits{Streams: StreamLimits{PerProcess: 512}}, callStream(wire.StreamCall, "echo", time.Second, "x"), 90, costWasted},
		{"calls", Limits{CallsPerIdentity: 9}, callStream(wire.StreamCall, "echo", time.Second, "x"), 3, costRefused},
		{"calls on streams that could carry more", Limits{CallsPerIdentity: 9}, callStream(wire.StreamCalls, "echo", time.Second, "x"), 3, costRefused},
		{"streams of patterns", Limits{CallsPerIdentity: 9}, patternStream("stream"), 3, costRefused},
		{"streams without a call", Limits{}, join(calls(), data("no HEADERS")), 0, costWasted},
		{"streams without anything", Limits{Streams: StreamLimits{FirstHeader: 10 * time.Millisecond}}, calls(), 0, costWasted},
		{"streams that are not used again", Limits{Streams: StreamLimits{Idle: time.Second}}, callStream(wire.StreamCalls, "echo", time.Second, "x"), 0, costWasted},
		{"streams of an unknown type", Limits{}, []byte{0x33}, 0, costRefused},
		{"streams of patterns that break the rules", Limits{}, join(patternStream("stream"), frame(0x9d, wire.FlagCritical, "")), 0, costRefused},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				test.limits.Streams.PerConnection, test.limits.Streams.RefusalRate = streams+test.hold, rate
				server := w.node("orders", test.limits)
				server.handler.onStream("stream", func(s *Stream) { <-s.Canceled().Done() })
				honest := w.quiet("web", Limits{}).connect(server)
				config := rawConfig()
				config.KeepAlivePeriod = 5 * time.Second
				var all []*raw
				for range conns {
					r := w.clientWith("mallory", server, config)
					for range test.hold {
						r.stream(callStream(wire.StreamCall, "wait", time.Minute, ""))
					}
					all = append(all, r)
				}
				settle()
				var tried atomic.Int64
				for _, r := range all {
					r.insistent(test.request, streams, test.limits.Streams.Idle > 0, &tried)
				}
				for range seconds {
					pass(time.Second)
					mustEcho(t, honest)
				}
				// The attempts are the burst, those that the rate allows in the time, and those under way.
				free := int64(rate+rate*(seconds+2)) / int64(test.cost)
				if n, most := tried.Load(), free+conns*streams; n > most || n < free/3 {
					t.Errorf("it tried %d times in %d s, want %d at most, and a third of %d", n, seconds, most, free)
				}
				if server.Shed()["Streams.RefusalRate"] == 0 || len(server.log.lines("reason=Streams.RefusalRate", "mallory")) == 0 {
					t.Error("it is not told that somebody is refused too often")
				}
				again := w.clientWith("mallory", server, config)
				before := tried.Load()
				again.insistent(test.request, streams, test.limits.Streams.Idle > 0, &tried)
				pass(time.Second)
				if n := tried.Load() - before; n > int64(2*rate+test.limits.Streams.PerConnection) {
					t.Errorf("it tried %d times in a second with one more connection", n)
				}
				for _, r := range append(all, again) {
					r.conn.Close(0, "")
				}
				pass(3 * time.Second)
				if n := server.pools.late.Used(); n != 0 || len(server.lenders.all) != 0 {
					t.Errorf("the credit of %d streams of nobody is late", n)
				}
				if len(server.callers.by) != 1 || len(server.callers.paces) != 1 {
					t.Errorf("%d callers and %d paces are known, want that of the honest one", len(server.callers.by), len(server.callers.paces))
				}
			})
		})
	}
}

// TestRefusalsBelowTheirRateAreAtOnce checks that below the rate neither a refusal nor the next attempt waits.
func TestRefusalsBelowTheirRateAreAtOnce(t *testing.T) { // SEC-329
	inWorld(t, func(w *world) {
		t := w.t
		const streams, rate = 10, 1000
		server := w.node("orders", Limits{CallsPerIdentity: 1, Streams: StreamLimits{PerConnection: streams, RefusalRate: rate}})
		client := w.quiet("web", Limits{}).connect(server)
		r := w.client("web", server)
		r.stream(callStream(wire.StreamCall, "wait", time.Hour, ""))
		settle()
		start := time.Now()
		for i := range rate - 10 {
			if i%2 == 0 {
				got := r.stream(callStream(wire.StreamCall, "echo", time.Minute, "x")).reply()
				if got.err != nil || !got.status.Refused {
					t.Fatalf("call %d: %+v", i, got)
				}
				continue
			}
			if _, status, err := call(t.Context(), client, "echo", "x"); err != nil || !status.Refused {
				t.Fatalf("call %d: %+v, %v", i, status, err)
			}
		}
		// In virtual time a refusal that does not wait takes one round trip. The bound is twice that.
		if took := time.Since(start); took > rate*4*latency {
			t.Errorf("%d refusals took %v", rate-10, took)
		}
		if n := server.pools.late.Used(); n != 0 {
			t.Errorf("the credit of %d streams is late", n)
		}
	})
}

// TestLateCreditIsBounded checks also that all credit has been returned some time after the peer stopped.
func TestLateCreditIsBounded(t *testing.T) { // SEC-329
	inWorld(t, func(w *world) {
		t := w.t
		const streams, limit, rate = 300, 800, 10
		bad := join(patternStream("stream"), frame(0x9d, wire.FlagCritical, ""))
		server := w.node("orders", Limits{Streams: StreamLimits{PerProcess: limit, PerConnection: streams, RefusalRate: rate}})
		server.handler.onStream("stream", func(s *Stream) { <-s.Canceled().Done() })
		config := rawConfig()
		config.KeepAlivePeriod = 5 * time.Second
		var all []*raw
		for range 2 {
			r := w.clientWith("mallory", server, config)
			for range streams {
				r.attempt(bad)
			}
			all = append(all, r)
		}
		pass(time.Second)
		if n := server.pools.late.Used(); n > limit/lateShare/2+floorStreams || n < limit/lateShare/2 {
			t.Errorf("the credit of %d streams of one peer is late, want a share of %d", n, limit)
		}
		honest := w.quiet("web", Limits{}).connect(server)
		mustEcho(t, honest)
		pass(2 * streams / rate * time.Second)
		if n := server.pools.late.Used(); n != 0 {
			t.Errorf("the credit of %d streams is late when all have been given back", n)
		}
		for _, r := range all {
			for range streams {
				if r.attempt(callStream(wire.StreamCall, "echo", time.Minute, "x")) == nil {
					t.Fatal("a stream is not allowed again")
				}
			}
			settle()
		}
	})
}

// TestHandlersDoNotRunForRepliesWithoutRoom checks that the calls of a peer that does not read its replies are
// refused before the handler runs, until the peer reads.
func TestHandlersDoNotRunForRepliesWithoutRoom(t *testing.T) { // SEC-330
	for _, opts := range [][]nodeOption{nil, {advisory}} {
		t.Run(fmt.Sprintf("names free %t", opts != nil), func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				server := w.node("orders", Limits{InFlightBytes: 16 << 20, MaxMessage: 1 << 20}, opts...)
				server.handler.onCall("bulk", func(c *Call) { answer(c, strings.Repeat("b", 1<<20)) })
				honest := w.quiet("web", Limits{}).connect(server)
				r := w.narrow("mallory", server, 1<<10)
				var held []*rawStream
				for range 8 {
					held = append(held, r.stream(callStream(wire.StreamCall, "bulk", time.Hour, "")))
				}
				settle()
				const seconds = 5
				refused := 0
				for range seconds {
					for range 100 {
						got := r.stream(callStream(wire.StreamCall, "bulk", time.Minute, "")).reply()
						if got.err != nil || got.status.Code != codeResourceExhausted {
							t.Fatalf("a reply without room: %+v", got)
						}
						if got.status.Refused {
							refused++
						}
					}
					pass(time.Second)
				}
				ran, most := server.handler.count("bulk"), 8+1+trialRate*(seconds+1)
				if ran > most || refused+ran != 8+100*seconds {
					t.Errorf("%d handlers ran and %d calls were refused, want %d at most and the rest", ran, refused, most)
				}
				// Other calls go on.
				r.mustEcho()
				if got, status, err := call(t.Context(), honest, "bulk", ""); err != nil || status.Code != 0 || len(got) != 1<<20 {
					t.Errorf("an honest call: %d bytes, %+v, %v", len(got), status, err)
				}
				for _, st := range held {
					st.CancelRead(0)
				}
				pass(time.Second)
				// A caller that holds no replies is served at once, whatever trialRate is.
				for range 4 * trialRate {
					st := r.stream(callStream(wire.StreamCall, "bulk", time.Minute, ""))
					settle()
					if st.CancelRead(0); server.handler.count("bulk") == ran {
						t.Fatal("it is refused although it holds nothing any more")
					}
					ran = server.handler.count("bulk")
					settle()
				}
			})
		})
	}
}

// TestWhoHoldsNothingIsNotRefused checks that a caller that holds no bytes is served even if its reply finds no room
// because of other callers: it cannot make any.
func TestWhoHoldsNothingIsNotRefused(t *testing.T) { // SEC-330
	inEach(t, func(w *world) {
		t := w.t
		const calls = 3 * trialRate
		server := w.node("orders", Limits{InFlightBytes: 4 << 20, MaxMessage: 1 << 20})
		server.handler.onCall("bulk", func(c *Call) { answer(c, strings.Repeat("b", 1<<20)) })
		for i := range 6 {
			r := w.narrow(fmt.Sprintf("mallory%d", i), server, 1<<10)
			for range 4 {
				r.stream(callStream(wire.StreamCall, "bulk", time.Hour, ""))
			}
			settle()
		}
		honest := w.quiet("web", Limits{}).connect(server)
		before := server.handler.count("bulk")
		for range calls {
			if _, status, err := call(t.Context(), honest, "bulk", ""); err != nil || status.Refused {
				t.Fatalf("%+v, %v", status, err)
			}
		}
		if n := server.handler.count("bulk") - before; n != calls {
			t.Errorf("%d of %d ran", n, calls)
		}
	})
}

func TestUnsentRoutesAreBounded(t *testing.T) { // SEC-330
	var u unsent
	pools := newPools(new(Limits{InFlightBytes: 1000, MaxMessage: 1}.withDefaults()))
	who := Identity{Key: "mallory"}
	room := pools.shares(&who, "192.0.2.1:1").bytes
	if err := room.Take(450); err != nil {
		t.Fatal(err)
	}
	for i := range 10 * maxUnsent {
		u.note(&wire.HeadersView{Route: fmt.Append(nil, i)}, 100)
	}
	if len(u.of) > maxUnsent+1 {
		t.Errorf("%d routes are remembered", len(u.of))
	}
	if !u.lacks(&wire.HeadersView{Route: []byte("another")}, room) {
		t.Error("a caller that has one route more than are told apart is not refused on all")
	}
	room.Give(450)
	for i := range 10 * maxUnsent {
		if u.lacks(&wire.HeadersView{Route: fmt.Append(nil, i)}, room) {
			t.Error("it is refused although it holds nothing")
		}
	}
	if len(u.of) != 0 || u.some.Load() {
		t.Errorf("%d are left", len(u.of))
	}
}

// TestWhoOpensTooManyStreamsIsCutOff checks that streams count until their credit is returned: streams that found no
// room take memory, too.
func TestWhoOpensTooManyStreamsIsCutOff(t *testing.T) { // SEC-379
	for name, opts := range map[string][]nodeOption{"one name": nil, "names free": {advisory}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				const streams, limit, conns = 500, 2048, 10
				server := w.node("orders", Limits{Streams: StreamLimits{PerProcess: limit, PerConnection: streams, RefusalRate: 10}}, opts...)
				honest := w.quiet("web", Limits{}).connect(server)
				config := rawConfig()
				config.KeepAlivePeriod = 5 * time.Second
				var all []*raw
				m := &member{w: w, to: server, free: opts != nil}
				for range conns {
					r := m.connect(config)
					if r == nil {
						t.Fatal("no connection")
					}
					all = append(all, r)
				}
				for _, r := range all {
					for range streams {
						r.attempt(callStream(wire.StreamCall, "wait", time.Minute, ""))
					}
					settle()
					mustEcho(t, honest)
				}
				cut := 0
				for _, r := range all {
					if r.conn.Context().Err() != nil {
						r.mustClose(wire.CodeLimit)
						cut++
					}
				}
				open, late := server.pools.streams.Used(), server.pools.late.Used()
				if most := int64(limit/2 + limit/lateShare); open+late > most || int64((conns-cut)*streams) > most {
					t.Errorf("it has %d streams open and the credit of %d is late, on %d connections with %d each", open, late, conns-cut, streams)
				}
				if cut == 0 || cut == conns {
					t.Errorf("%d of %d connections were ended", cut, conns)
				}
			})
		})
	}
}
