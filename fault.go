package link

import (
	"context"
	"time"

	"github.com/linkmesh/link/internal/backoff"
	"github.com/linkmesh/link/internal/codes"
)

// fault injects the fault that the topology asks for, if the call is drawn for it.
// A non-nil error settles the call.
func (c *call) fault(ctx context.Context) error {
	f := c.search.Fault()
	if f == nil {
		return nil
	}
	if f.Delay > 0 {
		deadline := c.search.Deadline()
		if err := backoff.Sleep(ctx, min(f.Delay, time.Until(deadline))); err != nil {
			return Errorf(CodeOf(ctx.Err()), "during a delay that the topology injected: %w", err)
		}
		if !c.search.Delayed().Before(deadline) {
			return Errorf(DeadlineExceeded, "during a delay of %v that the topology injected", f.Delay)
		}
	}
	if code, ok := codes.Number(f.Abort); ok {
		return Errorf(Code(code), "a fault that the topology of %s injected", c.Route.Service)
	}
	return nil
}
