package transport

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/wire"
)

// heapInUse is how many bytes are in use.
func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestAReplyThatWaitsHoldsWhatItCounts: replies whose peer makes no room for those before
// them hold no more memory than counts in Limits.InFlightBytes.
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
			inWorld(t, func(w *world) {
				t := w.t
				server := w.node("orders", Limits{InFlightBytes: 16 << 20})
				server.handler.onCall("kilo", func(c *Call) {
					c.Session.outbox.hold() // so that the reply is queued
					answer(c, strings.Repeat("k", 1000))
				})
				server.handler.onCall("bulk", handler)
				r := w.narrow("slow", server, 1500)
				settle()
				before := heapInUse()
				for range streams { // the first reply leaves, the second is with quic-go, and the third waits for room
					small := callFrames("kilo", time.Minute, "")
					r.stream(join(calls(), small, small, small, callFrames("bulk", time.Minute, "")))
					settle()
				}
				if n := server.handler.count("bulk"); n != streams {
					t.Fatalf("%d calls ran, want %d: nothing was tested", n, streams)
				}
				counted := server.pools.bytes.Used()
				// Buffers that wait for use, and what streams take beside them.
				if held := heapInUse() - before; held > 2*counted+maxKeeping+streams*64<<10 {
					t.Errorf("%d MiB are held, and %d MiB count", held>>20, counted>>20)
				}
				_ = r.conn.CloseWithError(0, "") // has no error to return
				settle()
				if used := server.pools.bytes.Used(); used != 0 {
					t.Errorf("%d bytes in flight when nothing is", used)
				}
			})
		})
	}
}
