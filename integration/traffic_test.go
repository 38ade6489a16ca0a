package integration

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/reqrep"
)

const (
	callers    = 4                     // how many call at once
	callEvery  = 10 * time.Millisecond // how often each calls
	maxFailed  = 10                    // failures kept, the others are counted only
	callWithin = 10 * time.Second      // the deadline of each call
)

// traffic is calls that go on until it is stopped.
type traffic struct {
	t    *testing.T
	quit chan struct{}
	wg   sync.WaitGroup
	stop func() // ends it and fails the test for each call that failed

	mu       sync.Mutex // guards the fields below
	answers  map[string]int
	calls    int
	failed   int
	failures []string
	slowest  time.Duration
	news     chan struct{} // closed and replaced with each call
}

// start begins calls of a method.
func startTraffic(t *testing.T, client *link.Node, method reqrep.Method[string, string]) *traffic {
	t.Helper()
	tr := &traffic{t: t, quit: make(chan struct{}), answers: make(map[string]int), news: make(chan struct{})}
	begin := time.Now()
	for range callers {
		tr.wg.Go(func() {
			ticker := time.NewTicker(callEvery)
			defer ticker.Stop()
			for {
				select {
				case <-ticker.C:
				case <-tr.quit:
					return
				}
				ctx, cancel := context.WithTimeout(context.Background(), callWithin)
				at := time.Now()
				id, err := reqrep.Call(ctx, client, method, "")
				cancel()
				tr.note(at.Sub(begin), time.Since(at), id, err)
			}
		})
	}
	tr.stop = sync.OnceFunc(func() {
		t.Helper()
		close(tr.quit)
		tr.wg.Wait()
		t.Logf("%d calls, the slowest took %v", tr.calls, tr.slowest.Round(time.Millisecond))
		if tr.failed > 0 {
			t.Errorf("%d of %d calls failed: %q", tr.failed, tr.calls, tr.failures)
		}
	})
	t.Cleanup(tr.stop)
	return tr
}

func (tr *traffic) note(at, took time.Duration, id string, err error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.calls++
	tr.slowest = max(tr.slowest, took)
	if err == nil {
		tr.answers[id]++
	} else if tr.failed++; len(tr.failures) < maxFailed {
		tr.failures = append(tr.failures, fmt.Sprintf("at %v after %v: %v", at.Round(time.Millisecond), took.Round(time.Millisecond), err))
	}
	close(tr.news)
	tr.news = make(chan struct{})
}

// answered returns how many calls an instance has answered.
func (tr *traffic) answered(id string) int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.answers[id]
}

// through waits until n more calls have ended, whatever their outcome.
func (tr *traffic) through(n int) {
	tr.t.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	tr.mu.Lock()
	want := tr.calls + n
	tr.mu.Unlock()
	for {
		tr.mu.Lock()
		done, news := tr.calls >= want, tr.news
		tr.mu.Unlock()
		if done {
			return
		}
		select {
		case <-news:
		case <-timer.C:
			tr.t.Fatalf("%d calls did not end within %v", n, within)
		}
	}
}

// lasts lets the calls go on for d. The time is what is tested: how long an outage is.
func (tr *traffic) lasts(d time.Duration) {
	tr.t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		tr.mu.Lock()
		failed, news := tr.failed, tr.news
		tr.mu.Unlock()
		if failed > 0 {
			tr.stop()
			tr.t.FailNow()
		}
		select {
		case <-news:
		case <-timer.C:
			return
		}
	}
}
