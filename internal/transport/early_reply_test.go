package transport

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/linkmesh/link/internal/wire"
)

// TestAStreamWhoseReplyCameBeforeItsRequestIsNotUsedAgain has a server answer what it has not read, and has no room
// for: the rest of the request is never sent, and must not lead the next call.
func TestAStreamWhoseReplyCameBeforeItsRequestIsNotUsedAgain(t *testing.T) {
	for _, size := range []int{4 << 10, 40 << 10} { // gathered with others, and written apart
		inWorld(t, func(w *world) {
			t := w.t
			var streams atomic.Int32
			server := w.narrowServer("orders", 512, serving(func(s *rawStream) {
				streams.Add(1)
				buf := make([]byte, 64)
				_, _ = s.Read(buf) // the call has begun
				s.say(data("early"), wire.AppendOK(nil, 0))
				s.CancelRead(0) // STATUS is there, the rest is not needed
			}))
			s, err := w.quiet("web", Limits{}).dial(server)
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
