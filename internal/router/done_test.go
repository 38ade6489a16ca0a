package router

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/internal/transport"
)

// TestWhereACallThatGotNoReplyGoes checks that an unsafe call that got no reply goes on only if no handler saw it.
func TestWhereACallThatGotNoReplyGoes(t *testing.T) {
	s, e := toNobody(t)
	errPlain := errors.New("no error of a connection")
	for _, test := range []struct {
		name string
		err  error
		// times is how often the call fails with err.
		times int
		// settled, tried, leaving and says are expected after the last failure.
		settled bool
		tried   bool
		leaving bool
		says    string
	}{
		{"an error of another kind", errPlain, 1, true, false, false, "no error of a connection"},
		{"the instance drains", &transport.Error{Reason: transport.ReasonDraining, NotProcessed: true}, 1, false, true, true, "drain"},
		{"the connection ended before the call left", &transport.Error{Reason: transport.ReasonLost, NotProcessed: true}, maxRedials, false, false, false, "lost"},
		{"so again and again", &transport.Error{Reason: transport.ReasonLost, NotProcessed: true}, maxRedials + 1, false, true, false, "lost"},
		{"the connection was lost", &transport.Error{Reason: transport.ReasonLost}, 1, true, true, false, "lost"},
		{"nobody takes it", &transport.Error{Reason: transport.ReasonRefused, NotProcessed: true}, maxRefusals, false, true, false, "refused"},
		{"one more does not", &transport.Error{Reason: transport.ReasonRefused, NotProcessed: true}, maxRefusals + 1, true, true, false, "refused"},
		{"the instance is in doubt", &transport.Error{Reason: transport.ReasonDoubt, NotProcessed: true}, 1, false, true, false, "doubt"},
		{"the caller gave up", &transport.Error{Reason: transport.ReasonCanceled}, 1, true, false, false, "canceled"},
		{"the reply is too long", &transport.Error{Reason: transport.ReasonLimit}, 1, true, false, false, "limit"},
		{"the peer breaks the protocol", &transport.Error{Reason: transport.ReasonProtocol}, 1, true, false, false, "protocol"},
	} {
		t.Run(test.name, func(t *testing.T) {
			e.Value().state.leaving.Store(0)
			search := &Search{service: s, ask: &Ask{Service: "orders", Name: "put", Level: Unsafe}}
			search.plan = new(policy.Plan)
			settled := false
			for i := range test.times {
				search.now = time.Now()
				target := Target{endpoint: e}
				search.Start(target)
				settled = search.Done(t.Context(), target, &Outcome{Start: search.now, End: search.now, Err: test.err})
				if settled && i < test.times-1 {
					t.Fatalf("it is settled after %d times", i+1)
				}
			}
			if settled != test.settled {
				t.Errorf("settled: %t, want %t", settled, test.settled)
			}
			if text := FromTransport(test.err, e.Value().Instance).Error(); !strings.Contains(text, test.says) {
				t.Errorf("the error is %q, want %q", text, test.says)
			}
			if got := search.tried.Has(e); got != test.tried {
				t.Errorf("the instance is tried: %t, want %t", got, test.tried)
			}
			if got := e.Value().state.leaving.Load() > 0; got != test.leaving {
				t.Errorf("the instance is leaving: %t, want %t", got, test.leaving)
			}
			if n := e.InFlight(); n != 0 {
				t.Errorf("%d calls are in flight", n)
			}
		})
	}
}
