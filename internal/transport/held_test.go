package transport

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/wire"
)

// heapInUse returns the bytes of the heap in use after a garbage collection.
func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestAReplyThatWaitsHoldsWhatItCounts checks that replies that wait for a peer to make room hold no more
// memory than they count in Limits.InFlightBytes.
func TestAReplyThatWaitsHoldsWhatItCounts(t *testing.T) { // SEC-386
	const size, streams = 1 << 20, 100
	large := func(c *Call) {
		c.Reply = append(GetBuffer(size), data(strings.Repeat("r", size-100))...)
	}
	for name, handler := range map[string]callFunc{
		"a STATUS in the place of a reply that is too long": func(c *Call) {
			large(c)
			c.Reply = wire.AppendStatus(c.Reply[:0], &wire.Status{Code: 8, Message: "too large"}, c.StatusFlags())
		},
		"a reply that is shorter than usual": func(c *Call) {
			c.Reply = append(GetBuffer(size), data(strings.Repeat("r", inlineBody+1))...)
			c.Reply = wire.AppendOK(c.Reply, c.StatusFlags())
		},
		"a long reply": func(c *Call) {
			large(c)
			c.Reply = wire.AppendOK(c.Reply, c.StatusFlags())
		},
	} {
		t.Run(name, func(t *testing.T) {
			inEach(t, func(w *world) {
				t := w.t
				server := w.node("orders", Limits{InFlightBytes: 16 << 20})
				server.handler.onCall("kilo", func(c *Call) {
					// The reply must be queued rather than written at once.
					c.Session.outbox.hold()
					answer(c, strings.Repeat("k", 1000))
				})
				server.handler.onCall("bulk", handler)
				r := w.narrow("slow", server, 1500)
				settle()
				before := heapInUse()
				// On each stream the first reply is sent, quic-go holds the second, and the third waits for room.
				for range streams {
					small := callFrames("kilo", time.Minute, "")
					r.stream(join(calls(), small, small, small, callFrames("bulk", time.Minute, "")))
					settle()
				}
				if n := server.handler.count("bulk"); n != streams {
					t.Fatalf("%d calls ran, want %d: nothing was tested", n, streams)
				}
				counted := server.pools.bytes.Used()
				// Beyond what is counted, maxKeeping allows for pooled buffers and 64 KiB for each stream.
				if held := heapInUse() - before; held > 2*counted+maxKeeping+streams*64<<10 {
					t.Errorf("%d MiB are held, and %d MiB count", held>>20, counted>>20)
				}
				r.conn.Close(0, "")
				settle()
				if used := server.pools.bytes.Used(); used != 0 {
					t.Errorf("%d bytes in flight when nothing is", used)
				}
			})
		})
	}
}

// patternOf opens a stream of a pattern for the route and sends more on it.
func (r *raw) patternOf(route string, more ...[]byte) *rawStream {
	r.t.Helper()
	return r.stream(join(patternStream(route), join(more...)))
}

// alive answers PINGs in the background until the connection ends.
func (r *raw) alive() {
	r.w.scripts.Go(func() {
		for {
			h, body, err := r.frames.next()
			if err != nil {
				return
			}
			if h.Kind == wire.KindPing {
				// If Write fails, so does the next read.
				_, _ = r.control.Write(frame(wire.KindPong, 0, string(body)))
			}
		}
	})
}

// TestAFrameThatWaitsIsHeldOnce checks that the transport does not copy the body of a frame that waits for
// a peer that does not read: only the handler that sends the body holds it.
func TestAFrameThatWaitsIsHeldOnce(t *testing.T) { // SEC-387
	inEach(t, func(w *world) {
		t := w.t
		const size, streams = 1 << 20, 90
		body := strings.Repeat("b", size)
		server := w.node("orders", Limits{})
		shared := plain(body)
		server.handler.onStream("stream", func(s *Stream) {
			// Send fails except on the one stream that is read.
			_ = s.Send(s.Canceled(), shared)
			s.Finish(&wire.Status{})
		})
		r := w.narrow("slow", server, 4<<10)
		r.alive()
		settle()
		before := heapInUse()
		opened := make([]*rawStream, streams)
		for i := range opened {
			opened[i] = r.patternOf("stream")
		}
		settle()
		if n := server.handler.count("stream"); n != streams {
			t.Fatalf("%d handlers run, want %d: nothing was tested", n, streams)
		}
		if held := heapInUse() - before; held > streams*64<<10 {
			t.Errorf("%d KiB are held for %d frames, whose body is the handler's", held>>10, streams)
		}
		h, got, err := opened[0].frames.next()
		if err != nil || h.Kind != wire.KindPattern || string(got) != body {
			t.Errorf("%d bytes arrived in a frame of kind %#x, %v", len(got), h.Kind, err)
		}
		r.conn.Close(0, "")
	})
}

// TestGrantDoesNotWaitForThePeer checks that Grant does not block, either behind a frame that waits for the
// peer or when there is no room for its own CREDIT, and that no credit is lost.
func TestGrantDoesNotWaitForThePeer(t *testing.T) { // SEC-387
	for name, test := range map[string]struct {
		frames int
		send   bool
	}{
		"behind a frame":  {frames: 20, send: true},
		"many of its own": {frames: 500},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				server := w.node("orders", Limits{})
				server.handler.onStream("stream", func(s *Stream) {
					if test.send {
						w.scripts.Go(func() { _ = s.Send(s.Canceled(), plain(strings.Repeat("b", 64<<10))) })
						idle(10 * latency)
					}
					for range test.frames {
						if _, err := s.Recv(s.Canceled()); err != nil {
							t.Errorf("receiving: %v", err)
							return
						}
						if err := s.Grant(wire.Credit{Messages: 1, Bytes: 10}); err != nil {
							t.Errorf("granting: %v", err)
							return
						}
						server.handler.begin("granted")
					}
					<-s.Canceled().Done()
				})
				r := w.narrow("slow", server, 16)
				r.alive()
				st := r.patternOf("stream")
				for range test.frames {
					st.write(frame(wire.KindPattern, 0, "f"))
				}
				pass(5 * time.Second)
				if n := server.handler.count("granted"); n != test.frames {
					t.Errorf("the handler has taken %d frames, want %d: it waits for the peer", n, test.frames)
				}
				var got wire.Credit
				_ = st.SetReadDeadline(time.Now().Add(time.Minute))
				for got.Messages < uint64(test.frames) {
					h, body, err := st.frames.next()
					if err != nil {
						t.Fatalf("%+v was granted, then: %v", got, err)
					}
					if h.Kind == wire.KindCredit {
						c, err := wire.ParseCredit(body)
						if err != nil {
							t.Fatal(err)
						}
						got.Messages += c.Messages
						got.Bytes += c.Bytes
					}
				}
				if want := (wire.Credit{Messages: uint64(test.frames), Bytes: 10 * uint64(test.frames)}); got != want {
					t.Errorf("%+v was granted, want %+v", got, want)
				}
				r.conn.Close(0, "")
			})
		})
	}
}

// TestARefusedStreamIsLetGo checks that a refused stream ends after writeGrace even if its peer does not
// read the STATUS.
func TestARefusedStreamIsLetGo(t *testing.T) { // SEC-388
	inWorld(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		server.handler.route("stream", Route{Stream: true, Refuse: &wire.Status{Code: 12, Message: strings.Repeat("n", 4<<10)}})
		r := w.narrow("slow", server, 16)
		r.alive()
		settle()
		for range 20 {
			r.patternOf("stream")
		}
		// STATUS is longer than a packet, so writing it waits for the peer.
		settle()
		if n := server.Active(); n != 20 {
			t.Fatalf("%d refusals wait for the peer, want 20: nothing was tested", n)
		}
		pass(2 * writeGrace)
		if n := server.Active(); n != 0 {
			t.Errorf("%d refusals wait for the peer after %v", n, 2*writeGrace)
		}
		r.conn.Close(0, "")
	})
}

// TestFramesThatChangeNothingWakeNobody checks that CREDIT that does not suffice to send and a repeated END
// wake no goroutine.
func TestFramesThatChangeNothingWakeNobody(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		opened := server.streams()
		r := w.client("mallory", server)
		st := r.patternOf("stream")
		s := <-opened
		sent := make(chan error, 1)
		go func() { sent <- s.Send(s.Canceled(), credited(strings.Repeat("b", 100))) }()
		settle()
		waits := func() <-chan struct{} {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.credit.more.C()
		}
		before := waits()
		for _, c := range []wire.Credit{{}, {Bytes: 1}, {Bytes: 98}, {Messages: 5}} {
			st.write(wire.AppendCredit(nil, c))
		}
		settle()
		if len(sent) != 0 || waits() != before {
			t.Error("who waits for credit was woken by too little of it")
		}
		st.write(wire.AppendCredit(nil, wire.Credit{Bytes: 1}))
		settle()
		if len(sent) != 1 || <-sent != nil || waits() == before {
			t.Error("the frame was not sent when there was credit for it")
		}
		st.write(wire.AppendEnd(nil))
		settle()
		<-s.inbox.arrived
		st.write(join(wire.AppendEnd(nil), wire.AppendEnd(nil)))
		settle()
		if len(s.inbox.arrived) != 0 {
			t.Error("who receives was woken by an END that is not the first")
		}
		if s.End() == nil {
			t.Error("the stream goes on behind END")
		}
		r.conn.Close(0, "")
	})
}
