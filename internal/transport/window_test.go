package transport

import (
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/wire"
)

// TestWindowsAreShared: by how much the windows of all connections of one peer grow is
// its share, and is given back with the connections.
func TestWindowsAreShared(t *testing.T) { // SEC-326
	inWorld(t, func(w *world) {
		t := w.t
		const limit = 8 << 20
		server := w.node("orders", Limits{WindowBytes: limit})
		server.handler.onCall("sink", func(c *Call) { c.Reply = wire.AppendOK(c.Reply, c.StatusFlags()) })
		bulk := data(strings.Repeat("m", 2<<20))
		greedy := func(service string) (conns []*Session) {
			for range 3 {
				s := w.quiet(service, Limits{}).connect(server)
				for range 3 {
					now := time.Now()
					var reply Reply
					if err := s.Call(t.Context(), now, now.Add(time.Minute), &wire.Headers{Route: "sink"}, bulk, &reply); err != nil {
						t.Fatal(err)
					}
					reply.Release()
				}
				conns = append(conns, s)
			}
			return conns
		}
		conns := greedy("mallory")
		grown := server.pools.windows.Used()
		if grown == 0 || grown > limit/2 {
			t.Errorf("the windows of one peer have grown by %d of %d", grown, limit)
		}
		conns = append(conns, greedy("web")...)
		if both := server.pools.windows.Used(); both <= grown || both > limit {
			t.Errorf("with another peer they have grown by %d of %d, by %d before", both, limit, grown)
		}
		for _, s := range conns {
			s.close(wire.CodeNone, "test")
		}
		pass(time.Second)
		if used := server.pools.windows.Used(); used != 0 {
			t.Errorf("%d bytes are held by connections that ended", used)
		}
	})
}
