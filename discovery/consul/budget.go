package consul

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// policyBlocking is how many of MaxBlocking may be watches of policies.
	policyBlocking = 8

	// busyPause is how long all watches leave the agent alone when it is overloaded, at least; they
	// come back spread over as much again.
	busyPause = 10 * time.Second

	// budgetGrows is how often one blocking watch more is dared after an overload.
	budgetGrows = time.Minute
)

// errShed says that a question ended early because the agent was overloaded.
var errShed = errors.New("made way for others")

// budget shares out the blocking watches of one Registry. It is safe for concurrent use.
type budget struct {
	mu       sync.Mutex // guards the fields below
	limit    int
	used     int
	policies int // how many of used are watches of policies
	grown    time.Time
	resume   time.Time
	waiting  map[*context.CancelFunc]struct{} // cancels each question that an overload ends
}

func newBudget() *budget {
	return &budget{limit: MaxBlocking, waiting: make(map[*context.CancelFunc]struct{})}
}

// patience returns a context for one question, which ends early when the agent is overloaded: a
// question that waits there for a minute holds one of its connections. end must be called.
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

// hold keeps or takes a place for a watch that waits in the agent and reports whether there is
// one; if not, a place held before is taken away.
func (b *budget) hold(held, policy bool, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.limit < MaxBlocking && now.Sub(b.grown) >= budgetGrows {
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

// overloaded halves the places and ends the questions that wait, once per pause however many
// watches hear of it.
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

// pause returns how long a watch has to leave the agent alone.
func (b *budget) pause(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	left := b.resume.Sub(now)
	if left <= 0 {
		return 0
	}
	return left + rand.N(busyPause) //nolint:gosec // chance keeps clients apart, not secrets
}
