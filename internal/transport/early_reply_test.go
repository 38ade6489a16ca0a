package transport

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link/internal/wire"
	"github.com/linkmesh/link/security"
)

// TestAStreamWhoseReplyCameBeforeItsRequestIsNotUsedAgain has a server answer what it has not read, and has no room
// for: the rest of the request is never sent, and must not lead the next call.
func TestAStreamWhoseReplyCameBeforeItsRequestIsNotUsedAgain(t *testing.T) {
	for _, size := range []int{4 << 10, 40 << 10} { // gathered with others, and written apart
		inWorld(t, func(w *world) {
			t := w.t
			var streams atomic.Int32
			source := w.ca.Source("orders")
			config := rawConfig()
			config.InitialStreamReceiveWindow, config.MaxStreamReceiveWindow = 512, 512
			tr := &quic.Transport{Conn: w.socket()}
			l, err := tr.Listen(security.ServerTLS(source), config)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = tr.Close() }) // as in rawDialTLS
			script := serving(func(s *rawStream) {
				streams.Add(1)
				buf := make([]byte, 64)
				_, _ = s.Read(buf) // the call has begun
				s.say(data("early"), wire.AppendOK(nil, 0))
				s.CancelRead(0) // STATUS is there, the rest is not needed
			})
			w.scripts.Go(func() {
				for {
					conn, err := l.Accept(context.Background())
					if err != nil {
						return
					}
					w.scripts.Go(func() { script(&raw{t: t, w: w, conn: conn}) })
				}
			})
			s, err := w.quiet("web", Limits{}).dial(&rawServer{id: source.ID(), addr: tr.Conn.LocalAddr()})
			if err != nil {
				t.Fatal(err)
			}
			const calls = 3
			for range calls {
				if got, _, err := call(t.Context(), s, "echo", strings.Repeat("q", size)); err != nil || got != "early" {
					t.Errorf("%d bytes: %q, %v; want the reply that came early", size, got, err)
				}
			}
			if n := streams.Load(); n != calls {
				t.Errorf("%d bytes: %d calls took %d streams, want one each", size, calls, n)
			}
		})
	}
}
