package main

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
)

// The window is what a user adds to a system that has no back-pressure:
// subscribers report their progress windowReports times per window, and the
// publisher keeps at most this much in flight to the slowest.
const (
	windowMessages = 64 << 10
	windowBytes    = 8 << 20
	windowReports  = 8
	reportLen      = 16
)

// windowOf returns the window for messages of size bytes, in messages.
func windowOf(size int) uint64 {
	return uint64(max(windowReports, min(windowMessages, windowBytes/size)))
}

// A window is the publisher's side. await and enter are called by one goroutine.
type window struct {
	// sent counts the messages that have entered.
	sent uint64
	// slowest is the progress of the slowest subscriber as of the last look.
	slowest uint64

	// news holds an element when reached has changed.
	news chan struct{}

	mu sync.Mutex // guards reached
	// reached is the number of each subscriber's next message.
	reached map[uint64]uint64
}

func newWindow() *window {
	return &window{reached: make(map[uint64]uint64), news: make(chan struct{}, 1)}
}

// hear records one progress report.
func (w *window) hear(report []byte) {
	if len(report) != reportLen {
		return
	}
	w.mu.Lock()
	w.reached[binary.BigEndian.Uint64(report)] = binary.BigEndian.Uint64(report[8:])
	w.mu.Unlock()
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// await waits until n subscribers have reported.
func (w *window) await(ctx context.Context, n int) error {
	for {
		if known, _ := w.look(); known >= n {
			return nil
		}
		if err := w.wait(ctx); err != nil {
			return err
		}
	}
}

// enter waits until the window has room for another message of size bytes.
func (w *window) enter(ctx context.Context, size int) error {
	limit := windowOf(size)
	for w.sent-w.slowest >= limit {
		_, w.slowest = w.look()
		if w.sent-w.slowest < limit {
			break
		}
		if err := w.wait(ctx); err != nil {
			return err
		}
	}
	w.sent++
	return nil
}

// look returns the number of subscribers and the progress of the slowest.
func (w *window) look() (known int, slowest uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	slowest = w.sent
	for _, next := range w.reached {
		slowest = min(slowest, next)
	}
	return len(w.reached), slowest
}

func (w *window) wait(ctx context.Context) error {
	select {
	case <-w.news:
		return nil
	case <-ctx.Done():
		return errors.Join(errors.New("a subscriber reports no progress"), context.Cause(ctx))
	}
}

// A progress is a subscriber's side of a window.
type progress struct {
	id    uint64
	every uint64
	last  uint64
}

func newProgress(size int) *progress {
	return &progress{id: rand.Uint64(), every: windowOf(size) / windowReports} //nolint:gosec // tells subscribers apart
}

// due reports whether it is time to tell the publisher that message next comes next.
func (p *progress) due(next uint64) bool { return next-p.last >= p.every }

// report returns a progress report that message next comes next.
func (p *progress) report(next uint64) []byte {
	p.last = next
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(make([]byte, 0, reportLen), p.id), next)
}
