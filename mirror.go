package link

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/linkmesh/link/internal/wire"
)

// maxMirrored bounds how many copies of calls are in flight at once. Beyond it
// calls are not copied, which [Status] counts.
const maxMirrored = 64

// mirrors sends copies of calls where the topology asks for them, and drops the
// replies. A copy neither delays its call nor changes its result.
type mirrors struct {
	node *Node
	// room holds a token for each copy in flight.
	room    chan struct{}
	sent    atomic.Uint64
	dropped atomic.Uint64
}

// send sends a copy of a call that has been encoded, if the call is drawn for it.
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
	// This is taken back below if the copy is not sent.
	m.sent.Add(1)
	c := &outgoing{
		Operation: Operation{Route: o.Route, Client: true, Metadata: Metadata{pairs: slices.Clone(o.Metadata.pairs)}},
		service:   o.service, now: o.now, deadline: o.deadline, dated: true,
		plan: plan, copied: true, request: o.request,
		// These are the options that the message and its reply need. Those that narrow the choice of an instance are
		// for the call, not for its copy.
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
		// The copy was not sent. Other errors are dropped, because nobody waits for the copy.
		if err != nil && c.attempts == 0 {
			m.sent.Add(^uint64(0))
			m.dropped.Add(1)
		}
	})
	if !ok {
		m.sent.Add(^uint64(0))
		<-m.room
	}
}
