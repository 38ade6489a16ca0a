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
	m.sent.Add(1) // unless it comes to nothing
	c := &outgoing{
		Operation: Operation{Route: o.Route, Client: true, Metadata: Metadata{pairs: slices.Clone(o.Metadata.pairs)}},
		service:   o.service, now: o.now, deadline: o.deadline, dated: true,
		plan: plan, copied: true, request: o.request,
		// What the message and its reply need. What narrows the choice of an instance is for the call, not for its copy.
		config: callConfig{key: o.config.key, size: o.config.size, sized: o.config.sized},
		data:   slices.Clone(o.data), size: o.size,
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
		err := c.start(ctx)
		if err == nil {
			err = c.run(ctx)
		}
		if err != nil && c.attempts == 0 { // nobody was asked; whatever became of it else, nobody waits for it
			m.sent.Add(^uint64(0))
			m.dropped.Add(1)
		}
	})
	if !ok {
		m.sent.Add(^uint64(0))
		<-m.room
	}
}
