package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestAWindowWaitsForTheSlowest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The window is 16 messages of this size.
		const size = windowBytes / 16
		ctx, stop := context.WithCancel(t.Context())
		w, fast, slow := newWindow(), newProgress(size), newProgress(size)
		w.hear(fast.report(0))
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := w.await(short, 2); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("await of two with one: %v", err)
		}
		w.hear(slow.report(0))
		if err := w.await(ctx, 2); err != nil {
			t.Fatal(err)
		}
		entered := make(chan struct{}, 100)
		failed := make(chan error, 1)
		go func() {
			for {
				if err := w.enter(ctx, size); err != nil {
					failed <- err
					return
				}
				entered <- struct{}{}
			}
		}()
		synctest.Wait()
		w.hear(fast.report(16))
		synctest.Wait()
		if n := len(entered); n != 16 {
			t.Errorf("%d messages entered while the slowest had none, want 16", n)
		}
		w.hear(slow.report(5))
		synctest.Wait()
		if n := len(entered); n != 21 {
			t.Errorf("%d messages entered when the slowest had 5, want 21", n)
		}
		stop()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("enter after the end: %v", err)
		}
	})
}

func TestSubscribersReportOftenEnoughForTheWindow(t *testing.T) {
	for _, r := range allRows() {
		if !r.pubsub() {
			continue
		}
		p := newProgress(r.size)
		if p.every == 0 || p.every*windowReports > windowOf(r.size) {
			t.Errorf("%s: a report every %d messages in a window of %d", r.name, p.every, windowOf(r.size))
		}
		if p.due(p.every-1) || !p.due(p.every) {
			t.Errorf("%s: a report is not due at %d", r.name, p.every)
		}
	}
}
