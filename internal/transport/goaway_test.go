package transport

import (
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/wire"
)

// goAwayServer accepts three streams, sends GOAWAY with last as the last stream that it serves, and ends
// the connection a second later.
func goAwayServer(w *world, last uint64) *rawServer {
	return w.rawServer("orders", func(r *raw) {
		r.open(append(controlType(), setupFrame()...))
		r.accept()
		for range 3 {
			if _, err := r.conn.Accept(r.t.Context()); err != nil {
				r.t.Error(err)
				return
			}
		}
		r.send(wire.AppendGoAway(nil, &wire.GoAway{LastStream: last, Reason: "moving\x1b[2J"}))
		idle(time.Second)
		r.conn.Close(wire.CodeGoingAway, "gone")
	})
}

// TestCallsAboveTheLastStreamWereNotProcessed checks that the errors of calls on streams above the last stream of a
// GOAWAY say NotProcessed: no handler saw them, so they may be retried elsewhere. Calls on lower streams may have run.
func TestCallsAboveTheLastStreamWereNotProcessed(t *testing.T) {
	for name, tc := range map[string]struct {
		last uint64
		// processed says for each stream whether a handler may have run.
		processed map[uint64]bool
	}{
		"the first is served": {0, map[uint64]bool{0: true, 4: false, 8: false}},
		"two are":             {4, map[uint64]bool{0: true, 4: true, 8: false}},
		"it does not know":    {wire.MaxVarint, map[uint64]bool{0: true, 4: true, 8: true}},
	} {
		t.Run(name, func(t *testing.T) {
			inEach(t, func(w *world) {
				t := w.t
				s, err := w.quiet("web", Limits{}).dial(goAwayServer(w, tc.last))
				if err != nil {
					t.Fatal(err)
				}
				type outcome struct {
					id  uint64
					err error
				}
				ended := make(chan outcome, 3)
				// Two calls are on streams 0 and 4, and a stream of a pattern is on stream 8.
				for id := uint64(0); id < 8; id += 4 {
					go func() {
						_, _, err := call(t.Context(), s, "echo", "x")
						ended <- outcome{id, err}
					}()
					settle()
				}
				st, err := s.Open(t.Context(), &wire.Headers{Route: "feed", Timeout: wire.MaxVarint})
				if err != nil {
					t.Fatal(err)
				}
				_, err = st.Recv(t.Context())
				ended <- outcome{8, err}
				for range 3 {
					got := <-ended
					if e := failure(t, got.err, ReasonLost); e.NotProcessed == tc.processed[got.id] {
						t.Errorf("stream %d: not processed is %v", got.id, e.NotProcessed)
					}
				}
			})
		})
	}
}

// TestReasonOfGoAwayIsInTheError checks that the error of a call that a draining peer does not take contains the
// reason of its GOAWAY, escaped.
func TestReasonOfGoAwayIsInTheError(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.rawServer("orders", func(r *raw) {
			r.open(append(controlType(), setupFrame()...))
			r.accept()
			// The call in flight keeps the connection open.
			_, _ = r.conn.Accept(r.t.Context())
			r.send(wire.AppendGoAway(nil, &wire.GoAway{LastStream: 0, Reason: "moving\x1b[2J"}))
			<-r.conn.Context().Done()
		})
		s, err := w.quiet("web", Limits{}).dial(server)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _, _ = call(t.Context(), s, "echo", "x") }()
		settle()
		e := failure(t, callError(t, s), ReasonDraining)
		if text := e.Error(); !strings.Contains(text, `moving\x1b[2J`) || !e.NotProcessed {
			t.Errorf("the error is %q, not processed %v", text, e.NotProcessed)
		}
	})
}
