package transport

import (
	"testing"
	"time"

	"github.com/linkmesh/link/internal/wire"
)

// TestAPeerThatMayNotUseARouteNeedsNoPlace checks that authorization comes before admission: a node that is full tells
// a peer that it may not use a route, and nothing of such a call runs.
func TestAPeerThatMayNotUseARouteNeedsNoPlace(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{CallsPerProcess: 4})
		open := server.held("held")
		defer open()
		s := w.quiet("web", Limits{}).connect(server)
		results := holdCalls(t.Context(), s, 4, "held")
		settle()
		for _, test := range []struct {
			name string
			code uint64
			want string
		}{
			{"not authorized", 7, "not you"},
			{"authorized", 8, "Limits.CallsPerProcess"},
		} {
			server.handler.authorize = nil
			if test.code == 7 {
				server.handler.authorize = func(*Session, *Route) *wire.Status { return &wire.Status{Code: 7, Message: "not you"} }
			}
			server.handler.route("guarded", Route{Value: named{"guarded", callFunc(echo)}, Guarded: true})
			_, status, err := call(t.Context(), s, "guarded", "")
			if err != nil || status.Code != test.code || !containsAll(status.Message, test.want) {
				t.Errorf("a call that is %s, to a node that is full: %+v, %v; want code %d and %q", test.name, status, err, test.code, test.want)
			}
		}
		if n := server.handler.count("guarded"); n != 0 {
			t.Errorf("the handler ran %d times", n)
		}
		open()
		if failed := results(); len(failed) > 0 {
			t.Errorf("calls that were there before failed: %v", failed)
		}
	})
}

// TestADrainWaitsForACallThatIsBeingAuthorized checks that a call counts from its arrival, however long it takes to find out
// whether its caller may make it.
func TestADrainWaitsForACallThatIsBeingAuthorized(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		decided := make(chan struct{})
		server.handler.authorize = func(*Session, *Route) *wire.Status {
			<-decided
			return nil
		}
		server.handler.route("guarded", Route{Value: named{"guarded", callFunc(echo)}, Guarded: true})
		s := w.quiet("web", Limits{}).connect(server)
		result := make(chan error, 1)
		go func() {
			_, _, err := call(t.Context(), s, "guarded", "hi")
			result <- err
		}()
		settle()
		over := server.drain(10 * time.Second)
		pass(time.Second)
		select {
		case err := <-over:
			t.Errorf("the drain is over, %v, while a call is being authorized", err)
		default:
		}
		close(decided)
		if err := <-result; err != nil {
			t.Errorf("the call: %v", err)
		}
		if err := <-over; err != nil {
			t.Errorf("the drain: %v", err)
		}
	})
}
