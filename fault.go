package link

import (
	"context"
	"time"

	"github.com/linkmesh/link/internal/codes"
)

// fault injects the fault that the topology asks for, if the call is drawn for it.
// A non-nil error settles the call.
func (o *outgoing) fault(ctx context.Context) error {
	if !o.plan.Faulted(&o.request) {
		return nil
	}
	f := o.plan.Fault
	if f.Delay > 0 {
		t := time.NewTimer(min(f.Delay, time.Until(o.deadline)))
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return Errorf(CodeOf(ctx.Err()), "during a delay that the topology injected: %w", context.Cause(ctx))
		}
		o.now = time.Now()
		if !o.now.Before(o.deadline) {
			return Errorf(DeadlineExceeded, "during a delay of %v that the topology injected", f.Delay)
		}
	}
	if code, ok := codes.Number(f.Abort); ok {
		return Errorf(Code(code), "a fault that the topology of %s injected", o.Route.Service)
	}
	return nil
}
