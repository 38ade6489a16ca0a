package transport

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestKnocksAreBounded checks that an endpoint has at most maxKnocks knocks in flight, because each holds a
// socket, and that one more returns at once.
func TestKnocksAreBounded(t *testing.T) {
	inWorld(t, func(w *world) {
		e := w.quiet("web", Limits{})
		e.cfg.Conn = deaf{e.cfg.Conn}
		for range maxKnocks {
			e.group.Go(func(ctx context.Context) { e.knock(ctx, netip.AddrPort{}) })
		}
		settle()
		start := time.Now()
		if e.knock(w.t.Context(), netip.AddrPort{}) || time.Since(start) != 0 {
			w.t.Errorf("one knock too many took %v, want none of it", time.Since(start))
		}
		pass(knockWait)
		if len(e.knocks) != 0 {
			w.t.Errorf("%d knocks are under way, long after they were over", len(e.knocks))
		}
	})
}

// deaf is a socket whose Knock never gets an answer.
type deaf struct{ net.PacketConn }

func (deaf) Knock(ctx context.Context, _ netip.AddrPort) bool { <-ctx.Done(); return false }
