package link

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/linkmesh/link/internal/wire"
)

// maxMirrored is how many copies of calls are under way at once. Beyond it calls
// are not copied, and counted; see [Status].
const maxMirrored = 64

// mirrors sends copies of calls where the topology wants them, and drops the
// replies. A copy never delays the call nor changes its result.
type mirrors struct {
	node    *Node
	room    chan struct{} // holds a token per copy under way
	sent    atomic.Uint64
	dropped atomic.Uint64
}

// send sends a copy of a call that has been encoded, if the lot falls on it.
func (m *mirrors) send(o *outgoing) {
	plan := o.plan.Mirrored(&o.request)
	if plan == nil {
		return
	}
	select {
	case m.room <- struct{}{}:
	default:
		m.dropped.Add(1)
		return
	}
	c := &outgoing{
		Operation: Operation{Route: o.Route, Client: true, Metadata: Metadata{pairs: slices.Clone(o.Metadata.pairs)}},
		service:   o.service, now: o.now, deadline: o.deadline,
		plan: plan, fixed: true, request: o.request,
		data: slices.Clone(o.data), size: o.size,
		headers: wire.Headers{
			Trace: o.headers.Trace, Codec: o.headers.Codec, Idempotency: slices.Clone(o.headers.Idempotency),
		},
	}
	c.headers.Metadata = c.Metadata.pairs
	if c.request.Meta != nil {
		c.request.Meta = (*lookup)(&c.Metadata)
	}
	ok := m.node.group.Go(func(ctx context.Context) {
		defer func() { <-m.room }()
		ctx, cancel := context.WithDeadline(ctx, c.deadline)
		defer cancel()
		if err := c.start(ctx); err == nil {
			_ = c.run(ctx) // nobody waits for it
		}
	})
	if !ok {
		<-m.room
		return
	}
	m.sent.Add(1)
}
