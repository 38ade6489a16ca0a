package transport

import (
	"encoding/binary"
	"sync"
	"testing"
)

// longHeader returns the connection IDs of a packet with a long header (RFC 9000, section 17.2).
func longHeader(b []byte) (dst, src []byte, ok bool) {
	if len(b) < 7 || b[0]&0x80 == 0 || binary.BigEndian.Uint32(b[1:]) != 1 {
		return nil, nil, false
	}
	n := int(b[5])
	dst, b = b[6:6+n], b[6+n:]
	return dst, b[1 : 1+int(b[0])], true
}

// TestConnectionIDsAreLong checks that both sides choose connection IDs of at least 8 bytes. An ID identifies a
// connection among all those of a socket, and quic-go does not draw another ID if the one it drew is taken: with 4
// bytes, a socket with 1,000 connections would lose one within hours.
func TestConnectionIDsAreLong(t *testing.T) {
	inWorld(t, func(w *world) {
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		var mu sync.Mutex
		// chosen holds the IDs that each host chose, by the address of the host.
		chosen := make(map[string]map[string]bool)
		w.lose(func(p packet) bool {
			mu.Lock()
			defer mu.Unlock()
			if _, src, ok := longHeader(p.Data); ok {
				if len(src) < 8 {
					w.t.Errorf("%s chose a connection ID of %d bytes, want 8 at least", p.From, len(src))
				}
				if chosen[p.From.String()] == nil {
					chosen[p.From.String()] = make(map[string]bool)
				}
				chosen[p.From.String()][string(src)] = true
			}
			return false
		})
		mustEcho(w.t, client.connect(server))
		mu.Lock()
		defer mu.Unlock()
		if len(chosen[server.addr]) == 0 || len(chosen[client.addr]) == 0 {
			w.t.Errorf("saw the IDs of %d hosts, want those of both", len(chosen))
		}
	})
}
