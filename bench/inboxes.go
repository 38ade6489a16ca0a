package main

import (
	"context"
	"time"

	"github.com/linkmesh/link/internal/backoff"
)

const (
	// settleQuiet is how long nothing may arrive before missing messages count as lost.
	settleQuiet = 500 * time.Millisecond
	settlePoll  = 2 * time.Millisecond
)

// inboxes are the inboxes of one process.
type inboxes []*inbox

// A span is an interval on the clock of the machine, in nanoseconds since 1970.
type span struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// rate returns the deliveries per second during s.
func (all inboxes) rate(ctx context.Context, s span) (float64, error) {
	return rate(ctx, s, all.received)
}

// rate returns by how much count grows per second during s. A process that
// wakes up late divides by the time between its two readings.
func rate(ctx context.Context, s span, count func() uint64) (float64, error) {
	from, err := lookAt(ctx, s.From, count)
	if err != nil {
		return 0, err
	}
	to, err := lookAt(ctx, s.To, count)
	if err != nil {
		return 0, err
	}
	return float64(to.received-from.received) / to.at.Sub(from.at).Seconds(), nil
}

// A look is a count and the time when it was read.
type look struct {
	received uint64
	at       time.Time
}

func lookAt(ctx context.Context, unixNano int64, count func() uint64) (look, error) {
	if err := backoff.Sleep(ctx, time.Until(time.Unix(0, unixNano))); err != nil {
		return look{}, err
	}
	return look{count(), time.Now()}, nil
}

func (all inboxes) received() uint64 {
	var sum uint64
	for _, b := range all {
		sum += b.received.Load()
	}
	return sum
}

// settle waits until every inbox has the last of the published messages, or
// until nothing has arrived for settleQuiet. It returns the latencies since its
// last call.
func (all inboxes) settle(ctx context.Context, published uint64) ([]time.Duration, error) {
	poll := time.NewTicker(settlePoll)
	defer poll.Stop()
	last := look{all.received(), time.Now()}
	for !all.seen(published) && time.Since(last.at) < settleQuiet {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if n := all.received(); n != last.received {
			last = look{n, time.Now()}
		}
	}
	var took []time.Duration
	for _, b := range all {
		some, err := b.take()
		if err != nil {
			return nil, err
		}
		took = append(took, some...)
	}
	return took, nil
}

// seen reports whether every inbox has the last of the published messages.
func (all inboxes) seen(published uint64) bool {
	for _, b := range all {
		if b.next.Load() != published {
			return false
		}
	}
	return true
}
