package transport

import (
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/wire"
)

// TestWindowsAreShared checks that the growth of the windows of all connections of a peer stays within
// its share, and is given back when the connections end.
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

// TestManyConnectionsBeginNarrow checks that the bytes that all connections may have in flight at first
// grow more slowly than the number of connections. SEC-327.
func TestManyConnectionsBeginNarrow(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		const conns = 8
		server := w.node("orders", Limits{ConnsPerProcess: wideConns})
		// unread returns how many bytes the node takes behind calls that run.
		unread := func(r *raw) (n int) {
			for range 4 {
				st := r.stream(callStream(wire.StreamCalls, "wait", time.Minute, ""))
				_ = st.SetWriteDeadline(time.Now().Add(50 * latency))
				m, _ := st.Write(make([]byte, 2*firstWindow))
				n += m
			}
			return n
		}
		var all []*raw
		for range conns {
			all = append(all, w.client("mallory", server))
		}
		sum := 0
		for _, r := range all {
			sum += unread(r)
		}
		if most := firstWindow + (conns-1)*narrowWindow; sum > most || sum < most/2 {
			t.Errorf("%d connections have %d bytes in flight that nobody reads, want about %d", conns, sum, most)
		}
		mustEcho(t, w.quiet("web", Limits{}).connect(server))
	})
}

// TestAWindowThatGrowsLateIsGivenBack grows a window after its session is gone: the connection of a session
// that was refused, or has ended, may still read for a moment.
func TestAWindowThatGrowsLateIsGivenBack(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		mustEcho(t, w.quiet("web", Limits{}).connect(server))
		conn := server.acceptedSessions()[0].conn
		s := server.newSession(conn, Identity{Key: "refused"}, nil)
		defer s.group.Stop(ErrClosed)
		if !server.mayGrow(conn.Context(), 1000) || server.pools.windows.Used() != 1000 {
			t.Fatalf("the windows have grown by %d, want 1000", server.pools.windows.Used())
		}
		s.disown()
		if server.mayGrow(conn.Context(), 1000) || server.pools.windows.Used() != 0 {
			t.Errorf("the windows have grown by %d when the session is gone", server.pools.windows.Used())
		}
	})
}
