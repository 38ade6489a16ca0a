package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// Upper bounds of the paced messages, whose latency is measured. They are
	// low enough that no message queues behind another.
	pacedRate  = 500      // messages per second
	pacedFanIn = 8000     // deliveries per second
	pacedBytes = 64 << 20 // bytes delivered per second

	// Paced messages are published for pacedWarm before their latencies are
	// recorded, and then for pacedWindow.
	pacedWarm   = 100 * time.Millisecond
	pacedWindow = 400 * time.Millisecond

	// burstSlack is how long the last messages of a burst may take to leave.
	burstSlack = 15 * time.Second
)

// A burst is what a publisher is told to publish. Sizes are in bytes, and times
// in nanoseconds since 1970.
type burst struct {
	Size int `json:"size"`
	// Rate is in messages per second. Zero means as fast as possible.
	Rate int `json:"rate"`
	// Timed is when messages begin to carry their time of publishing. Zero means never.
	Timed int64 `json:"timed"`
	Until int64 `json:"until"`
}

// paced returns how many messages per second are published to measure the
// latency of a row.
func paced(size, subs int) int {
	return max(1, min(pacedRate, pacedFanIn/subs, pacedBytes/(size*subs)))
}

// A press publishes bursts of numbered messages.
type press struct {
	publisher publisher
	next      uint64
}

// run publishes one burst. It stops at the first message that fails.
func (p *press) run(ctx context.Context, b burst) error {
	if b.Size < messageMin {
		return fmt.Errorf("a message of %d bytes is too short, want at least %d", b.Size, messageMin)
	}
	body := make([]byte, b.Size)
	for i := range body {
		body[i] = byte(i * 7)
	}
	until := time.Unix(0, b.Until)
	ctx, cancel := context.WithDeadline(ctx, until.Add(burstSlack))
	defer cancel()
	var err error
	if b.Rate > 0 {
		err = p.paced(ctx, b, until, body)
	} else {
		err = p.fast(ctx, until, body)
	}
	if err != nil {
		return fmt.Errorf("message %d: %w", p.next, err)
	}
	return p.publisher.flush(ctx)
}

// fast publishes without a pause. It checks a flag for each message instead of
// the clock, whose cost would show at millions of messages per second.
func (p *press) fast(ctx context.Context, until time.Time, body []byte) error {
	var over atomic.Bool
	end := time.AfterFunc(time.Until(until), func() { over.Store(true) })
	defer end.Stop()
	for !over.Load() {
		if err := p.publish(ctx, body, 0); err != nil {
			return err
		}
	}
	return nil
}

func (p *press) paced(ctx context.Context, b burst, until time.Time, body []byte) error {
	tick := time.NewTicker(time.Second / time.Duration(b.Rate))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		now := time.Now()
		if !now.Before(until) {
			return nil
		}
		var at int64
		if b.Timed != 0 && now.UnixNano() >= b.Timed {
			at = now.UnixNano()
		}
		if err := p.publish(ctx, body, at); err != nil {
			return err
		}
		if err := p.publisher.flush(ctx); err != nil {
			return err
		}
	}
}

func (p *press) publish(ctx context.Context, body []byte, at int64) error {
	binary.BigEndian.PutUint64(body, p.next)
	binary.BigEndian.PutUint64(body[numberEnd:], uint64(at))
	if err := p.publisher.publish(ctx, body); err != nil {
		return err
	}
	p.next++
	return nil
}
