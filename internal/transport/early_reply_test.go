package transport

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/linkmesh/link/internal/wire"
)

// TestAStreamWhoseReplyCameBeforeItsRequestIsNotUsedAgain has a server answer a request that it has not read, and whose
// rest it has no room for. The rest is never sent, and must not precede the next call on the stream.
func TestAStreamWhoseReplyCameBeforeItsRequestIsNotUsedAgain(t *testing.T) {
	// The small message is written together with its HEADERS, and the large one separately.
	for _, size := range []int{4 << 10, 40 << 10} {
		inEach(t, func(w *world) {
			t := w.t
			var streams atomic.Int32
			server := w.narrowServer("orders", 512, serving(func(s *rawStream) {
				streams.Add(1)
				buf := make([]byte, 64)
				// Read returns when the call has begun.
				_, _ = s.Read(buf)
				s.say(data("early"), wire.AppendOK(nil, 0))
				// After STATUS the rest of the request is not needed.
				s.CancelRead(0)
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
