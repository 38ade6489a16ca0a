package consul

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// policyBlocking is the number of the maxBlocking slots that policy watches may use.
	policyBlocking = 8

	// busyPause is the minimum time for which all watches stop querying an overloaded agent. They
	// resume at random times within another busyPause.
	busyPause = 10 * time.Second

	// budgetGrows is the interval at which the number of slots grows by one after an overload.
	budgetGrows = time.Minute
)

// errShed means that a query was canceled because the agent was overloaded.
var errShed = errors.New("made way for others")

// budget limits the number of blocking watches of one Registry: each needs a slot. It is safe for
// concurrent use.
type budget struct {
	mu    sync.Mutex // guards the fields below
	limit int
	used  int

	// policies counts the used slots that policy watches hold.
	policies int
	grown    time.Time
	resume   time.Time

	// waiting holds the cancel function of each query in flight. An overload cancels them all.
	waiting map[*context.CancelFunc]struct{}
}

func newBudget() *budget {
	return &budget{limit: maxBlocking, waiting: make(map[*context.CancelFunc]struct{})}
}

// patience returns a context for one query. An overload of the agent cancels it, because a blocking
// query would hold one of the agent's connections for up to a minute. The caller must call end.
func (b *budget) patience(ctx context.Context) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancel(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting[&cancel] = struct{}{}
	return ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.waiting, &cancel)
		cancel()
	}
}

// hold keeps or acquires the slot of a watch and reports whether the watch has one now. It releases
// a held slot if the limit has shrunk.
func (b *budget) hold(held, policy bool, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.limit < maxBlocking && now.Sub(b.grown) >= budgetGrows {
		b.limit++
		b.grown = b.grown.Add(budgetGrows)
	}
	switch {
	case held && b.used > b.limit:
		b.releaseLocked(policy)
		return false
	case held:
		return true
	case b.used >= b.limit, policy && b.policies >= policyBlocking:
		return false
	}
	b.used++
	if policy {
		b.policies++
	}
	return true
}

func (b *budget) release(policy bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.releaseLocked(policy)
}

func (b *budget) releaseLocked(policy bool) {
	b.used--
	if policy {
		b.policies--
	}
}

// overloaded halves the number of slots and cancels the queries in flight. It does so once per pause,
// no matter how many watches report the overload.
func (b *budget) overloaded(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Before(b.resume) {
		return
	}
	b.limit = max(1, b.limit/2)
	b.grown, b.resume = now, now.Add(busyPause)
	for cancel := range b.waiting {
		(*cancel)()
	}
}

// pause returns how long a watch must wait before its next query.
func (b *budget) pause(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	left := b.resume.Sub(now)
	if left <= 0 {
		return 0
	}
	return left + rand.N(busyPause) //nolint:gosec // chance keeps clients apart, not secrets
}
