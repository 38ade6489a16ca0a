package main

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
)

// The window is what a user puts around a system that has no back-pressure:
// subscribers report how far they are, and the publisher keeps no more than
// this under way to the slowest.
const (
	windowMessages = 64 << 10
	windowBytes    = 8 << 20
	windowReports  = 8 // reports per window
	reportLen      = 16
)

// windowOf is the window in messages of one size.
func windowOf(size int) uint64 {
	return uint64(max(windowReports, min(windowMessages, windowBytes/size)))
}

// A window is the publisher's side. One goroutine awaits and enters.
type window struct {
	sent    uint64 // the publisher's own
	slowest uint64 // as of the last look

	news chan struct{} // holds one when reached has changed

	mu      sync.Mutex        // guards the field below
	reached map[uint64]uint64 // next message of each subscriber
}

func newWindow() *window {
	return &window{reached: make(map[uint64]uint64), news: make(chan struct{}, 1)}
}

// hear takes one report.
func (w *window) hear(report []byte) {
	if len(report) != reportLen {
		return // nothing else is sent there
	}
	w.mu.Lock()
	w.reached[binary.BigEndian.Uint64(report)] = binary.BigEndian.Uint64(report[8:])
	w.mu.Unlock()
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// await waits for the first report of n subscribers.
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

// enter waits until one more message of the size fits.
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

// look is how many subscribers there are and how far the slowest is.
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

// due reports whether the publisher is to hear that next comes next.
func (p *progress) due(next uint64) bool { return next-p.last >= p.every }

// report is the message that says so.
func (p *progress) report(next uint64) []byte {
	p.last = next
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(make([]byte, 0, reportLen), p.id), next)
}
