package transport

import (
	"bytes"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link/internal/wire"
)

// TestRapidReset checks that handlers of streams that were reset still count, so that a client that
// opens and resets streams cannot run more handlers than its share.
func TestRapidReset(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		const share = 16
		server := w.node("orders", Limits{Streams: StreamLimits{PerConnection: share}})
		server.handler.onCall("stubborn", func(*Call) { idle(50 * time.Millisecond) })
		honest := w.quiet("web", Limits{}).connect(server)
		before := runtime.NumGoroutine()
		r := w.client("mallory", server)
		request := callStream(wire.StreamCall, "stubborn", time.Minute, "x")
		for range 1500 {
			st, err := r.conn.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			// Write fails if the peer has sent STOP_SENDING.
			_, _ = st.Write(request)
			if st.ID()%16 == 0 {
				// With this delay some requests are sent completely before the reset.
				idle(latency / 10)
			}
			st.CancelWrite(3)
			st.CancelRead(3)
			if st.ID()%400 == 0 {
				mustEcho(t, honest)
			}
		}
		if peak := server.handler.peak.Load(); peak > share+1 {
			t.Errorf("%d handlers ran at once, want %d at most", peak, share)
		}
		if server.handler.count("stubborn") == 0 {
			t.Error("no request arrived: nothing was tested")
		}
		pass(time.Second)
		r.mustEcho()
		pass(time.Second)
		if n := server.Active(); n != 0 {
			t.Errorf("%d handlers are still active", n)
		}
		if after := runtime.NumGoroutine(); after > before+20 {
			t.Errorf("%d goroutines, %d before", after, before)
		}
	})
}

// TestZeroLengthFrameFlood checks that a flood of empty unknown frames does not keep the calls behind it
// or other peers from being served, and that it ends the connection if it comes on CONTROL.
func TestZeroLengthFrameFlood(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		honest := w.quiet("web", Limits{}).connect(server)
		r := w.client("mallory", server)
		flood := bytes.Repeat(frame(0x9d, 0, ""), 10_000)
		st := r.stream(join(calls(), headers("echo", time.Second), flood, data("hi")))
		if got := st.reply(); got.err != nil || got.message != "hi" {
			t.Errorf("the call behind the flood: %+v", got)
		}
		st.write(flood)
		st.write(callFrames("echo", time.Second, "again"))
		if got := st.reply(); got.err != nil || got.message != "again" {
			t.Errorf("the call behind the second flood: %+v", got)
		}
		// Write may fail, because a flood on CONTROL ends the connection.
		_, _ = r.control.Write(flood)
		if code, _ := r.closed(); code != wire.CodeLimit {
			t.Errorf("closed with %v, want LIMIT", code)
		}
		mustEcho(t, honest)
	})
}

// TestPeerThatNeverReadsDoesNotPileUpReplies checks that replies to a peer that acknowledges nothing do not
// pile up in memory: pipelined requests are served only as fast as their replies are sent.
func TestPeerThatNeverReadsDoesNotPileUpReplies(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		server.handler.onCall("kilo", func(c *Call) { answer(c, strings.Repeat("k", 1100)) })
		honest := w.quiet("web", Limits{}).connect(server)
		r := w.generous("mallory", server)
		st := r.stream(calls())
		settle()
		// The peer hears nothing, so it never acknowledges.
		w.lose(func(p packet) bool { return p.To.String() == r.addr() })
		_ = st.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = st.Write(bytes.Repeat(callFrames("kilo", time.Second, ""), 2000))
		pass(2 * time.Second)
		served := server.handler.count("kilo")

		// The bound is the initial congestion window plus writeBacklog.
		if most := (64<<10 + writeBacklog) / 1100; served > most || served == 0 {
			t.Errorf("%d requests were served without one reply acknowledged, want %d at most", served, most)
		}
		mustEcho(t, honest)
	})
}

// TestPeerThatNeverReadsDoesNotPileUpFrames checks that frames of a pattern to a peer that acknowledges
// nothing do not pile up in memory, however large its flow control windows are.
func TestPeerThatNeverReadsDoesNotPileUpFrames(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		var sent atomic.Int64
		server.handler.onStream("stream", func(s *Stream) {
			for sent.Load() < 10<<20 {
				if s.Send(s.Canceled(), plain(strings.Repeat("k", 1000))) != nil {
					return
				}
				sent.Add(1000)
			}
		})
		r := w.generous("mallory", server)
		settle()
		// The peer hears nothing, so it never acknowledges.
		w.lose(func(p packet) bool { return p.To.String() == r.addr() })
		r.stream(append(wire.AppendVarint(nil, uint64(wire.StreamCall)), headers("stream", time.Second)...))
		pass(2 * time.Second)
		// The bound is the initial congestion window plus writeBacklog.
		if n, most := sent.Load(), int64(64<<10+writeBacklog); n > most || n == 0 {
			t.Errorf("%d bytes were taken without one acknowledged, want %d at most", n, most)
		}
	})
}

// TestPeerThatNeverReadsIsLetGo checks that handlers whose replies a peer does not read return by the
// deadline of the call, whatever the size of the replies.
func TestPeerThatNeverReadsIsLetGo(t *testing.T) {
	for _, test := range []struct {
		name string
		size int
	}{{"small", 100}, {"kilobytes", 8 << 10}, {"bulk", 1 << 20}} {
		t.Run(test.name, func(t *testing.T) {
			inEach(t, func(w *world) {
				t := w.t
				server := w.node("orders", Limits{Streams: StreamLimits{PerConnection: 20}})
				server.handler.onCall("reply", func(c *Call) { answer(c, strings.Repeat("r", test.size)) })
				honest := w.quiet("web", Limits{}).connect(server)
				r := w.narrow("mallory", server, 1<<10)
				for range 20 {
					st := r.stream(calls())
					go func() {
						// Write sends as many calls as the server has room for.
						_ = st.SetWriteDeadline(time.Now().Add(10 * time.Second))
						_, _ = st.Write(bytes.Repeat(callFrames("reply", 2*time.Second, ""), 1000))
					}()
				}
				pass(time.Second)
				mustEcho(t, honest)
				pass(12 * time.Second)
				if n := server.Active(); n != 0 {
					t.Errorf("%d handlers are still active long after the deadlines", n)
				}
				if server.handler.count("reply") == 0 {
					t.Error("no request arrived: nothing was tested")
				}
				mustEcho(t, honest)
				r.conn.Close(0, "")
			})
		})
	}
}

// TestSlowloris checks that a stream whose peer sends one byte per second, or keeps a call from
// completing in another way, is reset in time.
func TestSlowloris(t *testing.T) {
	limits := Limits{Streams: StreamLimits{FirstHeader: 5 * time.Second, BodyGrace: 10 * time.Second, BodyRate: 16 << 10}}
	h := headers("echo", time.Minute)
	for _, test := range []struct {
		name string
		// ready is sent at once, and slow is sent one byte per second.
		ready []byte
		slow  []byte
		most  time.Duration
	}{
		{"stream type and HEADERS", nil, append(calls(), h...), limits.Streams.FirstHeader},
		{"HEADERS", calls(), h, limits.Streams.FirstHeader},
		{"header of DATA", join(calls(), h), data(strings.Repeat("m", 100)), limits.Streams.FirstHeader},
		{"small DATA", join(calls(), h, data(strings.Repeat("m", 100))[:4]), []byte(strings.Repeat("m", 100)), limits.Streams.FirstHeader},
		{"large DATA", join(calls(), h, data(strings.Repeat("m", 100<<10))[:5]), []byte(strings.Repeat("m", 100)), limits.Streams.BodyGrace},
		{"DATA that never comes", join(calls(), headers("echo", 3*time.Second)), nil, 3*time.Second + writeGrace},
		{"DATA that never comes behind grease", join(calls(), headers("echo", 3*time.Second), frame(0x9d, 0, "grease")), nil, 3*time.Second + writeGrace},
		{"DATA that never comes behind slow grease", join(calls(), headers("echo", 3*time.Second)), bytes.Repeat(frame(0x9d, 0, ""), 20), 3*time.Second + writeGrace},
		{"second call", join(calls(), h, data("first")), callFrames("echo", time.Minute, "second"), limits.Streams.FirstHeader},
	} {
		t.Run(test.name, func(t *testing.T) {
			inEach(t, func(w *world) {
				t := w.t
				server := w.node("orders", limits)
				honest := w.quiet("web", Limits{}).connect(server)
				r := w.client("mallory", server)
				start := time.Now()
				st := r.stream(test.ready)
				synctest.Wait()
				w.scripts.Go(func() {
					for i := range test.slow {
						if _, err := st.Write(test.slow[i : i+1]); err != nil {
							return
						}
						idle(time.Second)
					}
				})
				st.mustReset(wire.CodeLimit)
				if took := time.Since(start); took > test.most+time.Second+500*time.Millisecond {
					t.Errorf("reset after %v, want about %v", took, test.most)
				}
				mustEcho(t, honest)
				r.mustEcho()
				settle()
				if used := server.pools.bytes.Used(); used != 0 {
					t.Errorf("%d bytes in flight when nothing is", used)
				}
			})
		})
	}
}

// TestGreaseKeepsNothingAlive checks that frames that a server ignores prolong neither a call nor the life
// of a stream that carries no call.
func TestGreaseKeepsNothingAlive(t *testing.T) { // SEC-381
	const idle = 5 * time.Second
	for _, test := range []struct {
		name  string
		ready []byte
		want  wire.Code
		most  time.Duration
	}{
		{"before DATA", join(calls(), headers("echo", 3*time.Second)), wire.CodeLimit, 3*time.Second + writeGrace},
		{"after a call", callStream(wire.StreamCalls, "echo", time.Second, "x"), wire.CodeRefused, idle + 2*time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			inEach(t, func(w *world) {
				t := w.t
				server := w.node("orders", Limits{Streams: StreamLimits{Idle: idle}})
				r := w.client("mallory", server)
				start := time.Now()
				st := r.stream(test.ready)
				if test.want == wire.CodeRefused {
					if got := st.reply(); got.err != nil {
						t.Fatal(got.err)
					}
				}
				grease := bytes.Repeat(frame(0x9d, 0, strings.Repeat("g", 60)), 10)
				// The last frame of each write is incomplete, so the reader is always within a frame.
				st.write(grease[:20])
				grease = append(grease[20:], grease[:20]...)
				w.scripts.Go(func() {
					for time.Since(start) < time.Minute {
						if _, err := st.Write(grease); err != nil {
							return
						}
						pass(100 * time.Millisecond)
					}
				})
				st.mustReset(test.want)
				if took := time.Since(start); took > test.most+time.Second {
					t.Errorf("reset after %v, want about %v", took, test.most)
				}
				r.mustEcho()
			})
		})
	}
}

// TestBodyThatKeepsUpIsServed sends a body that takes longer than BodyGrace but is faster than BodyRate.
func TestBodyThatKeepsUpIsServed(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{Streams: StreamLimits{BodyGrace: 2 * time.Second, BodyRate: 16 << 10}})
		r := w.client("web", server)
		message := strings.Repeat("m", 400<<10)
		st := r.stream(append(calls(), headers("echo", time.Minute)...))
		for b := data(message); len(b) > 0; b = b[min(len(b), 20<<10):] {
			st.write(b[:min(len(b), 20<<10)])
			idle(time.Second)
		}
		if got := st.reply(); got.err != nil || got.message != message {
			t.Errorf("reply of %d bytes, %v", len(got.message), got.err)
		}
	})
}

// TestStreamMayRestBetweenCalls checks that a stream may be idle between two calls, but is reset after
// StreamLimits.Idle: a stream that carries no call holds a goroutine and buffers.
func TestStreamMayRestBetweenCalls(t *testing.T) { // SEC-323
	inWorld(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{Streams: StreamLimits{Idle: 2 * time.Hour}})
		config := rawConfig()
		config.KeepAlivePeriod = 10 * time.Second
		r := w.clientWith("web", server, config)
		st := r.stream(calls())
		for range 3 {
			st.write(callFrames("echo", time.Second, "hi"))
			if got := st.reply(); got.err != nil || got.message != "hi" {
				t.Fatalf("got %+v", got)
			}
			pass(time.Hour)
		}
		pass(2 * time.Hour)
		st.mustReset(wire.CodeRefused)
		greasy := r.stream(join(calls(), callFrames("echo", time.Second, "hi"), frame(0x9d, 0, "no call")))
		if got := greasy.reply(); got.err != nil {
			t.Fatal(got.err)
		}
		pass(2*time.Hour + time.Second)
		greasy.mustReset(wire.CodeRefused)
		settle()
		if n := server.pools.streams.Used(); n != 0 {
			t.Errorf("%d streams are open", n)
		}
	})
}

// TestALeaseThatThePeerClosedIsNotUsed checks that calls succeed although the peer has closed the idle lease.
func TestALeaseThatThePeerClosedIsNotUsed(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{Streams: StreamLimits{Idle: 5 * time.Second}})
		s := w.quiet("web", Limits{Streams: StreamLimits{LeaseIdle: time.Hour}}).connect(server)
		for range 3 {
			mustEcho(t, s)
			pass(10 * time.Second)
			if n := server.pools.streams.Used(); n != 0 {
				t.Errorf("%d streams are open", n)
			}
		}
	})
}

// TestNeverFin has a peer keep all streams of its connection open, and checks that others are still served.
func TestNeverFin(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{Streams: StreamLimits{PerConnection: 10}})
		honest := w.quiet("web", Limits{}).connect(server)
		r := w.client("mallory", server)
		for range 10 {
			st := r.stream(callStream(wire.StreamCall, "echo", time.Second, "x"))
			if got := st.reply(); got.err != nil {
				t.Fatal(got.err)
			}
		}
		ctx, cancel := withTimeout(t, time.Second)
		defer cancel()
		if st, err := r.conn.Open(ctx); err == nil && st.ID() > 4*20 {
			t.Errorf("stream %d was allowed", st.ID())
		}
		// A handler is active until its reply has been written, which the peer may have read by then.
		settle()
		if n := server.Active(); n != 0 {
			t.Errorf("%d handlers are active", n)
		}
		mustEcho(t, honest)
	})
}
