package link

import (
	"context"
	"slices"

	"github.com/linkmesh/link/internal/wire"
)

// send sends a copy of a call that has been encoded, if the topology asks for one and the call is drawn for it. run makes
// the attempts of a call.
func (m *mirrors) send(c *call, run func(*call, context.Context) error) {
	plan := c.search.Mirrored()
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
	twin := &call{
		Operation: Operation{Route: c.Route, Client: true, Metadata: Metadata{pairs: slices.Clone(c.Metadata.pairs)}},
		node:      m.node,
		// These are the options that the message and its reply need. Those that narrow the choice of an instance are
		// for the call, not for its copy.
		config: callConfig{key: c.config.key, size: c.config.size, sized: c.config.sized},
		data:   slices.Clone(c.data), size: c.size,
	}
	ask, headers := twin.ask(), &c.attempt.headers
	ask.Level, ask.Encoded = c.config.ask.Level, true
	if c.config.ask.Meta != nil {
		ask.Meta = (*lookup)(&twin.Metadata)
	}
	twin.attempt.headers = wire.Headers{
		Trace: headers.Trace, Codec: headers.Codec, Idempotency: slices.Clone(headers.Idempotency), Metadata: twin.Metadata.pairs,
	}
	c.search.Copy(&twin.search, plan, ask)
	ok := m.node.group.Go(func(ctx context.Context) {
		defer func() { <-m.room }()
		ctx, cancel := context.WithDeadline(ctx, twin.search.Deadline())
		defer cancel()
		err := twin.search.ChooseCopy(ctx)
		if err == nil {
			err = run(twin, ctx)
		}
		// The copy was not sent. Other errors are dropped, because nobody waits for the copy.
		if err != nil && twin.search.Attempts() == 0 {
			m.sent.Add(^uint64(0))
			m.dropped.Add(1)
		}
	})
	if !ok {
		m.sent.Add(^uint64(0))
		<-m.room
	}
}
