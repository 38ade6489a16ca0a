package consul

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/linkmesh/link/discovery"
)

const (
	policyPrefix = "link/topology/"

	// policyPoll is between the queries of a policy watch that does not wait in the agent. Policies
	// change by hand, and no agent answers for the servers about KV.
	policyPoll = 15 * time.Second

	// MaxPolicies bounds the open policy watches of one Registry.
	MaxPolicies = 10_000
)

func policyKey(q discovery.Query) string {
	if q.Namespace == discovery.DefaultNamespace {
		return policyPrefix + q.Service
	}
	return policyPrefix + q.Namespace + "/" + q.Service
}

// WatchPolicy implements discovery.PolicyWatcher. The documents are in Consul's KV store under
// link/topology/<service>, or link/topology/<namespace>/<service> for a namespace other than default.
func (r *Registry) WatchPolicy(ctx context.Context, q discovery.Query) (<-chan discovery.Policy, error) {
	if err := q.Validate(); err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	q = q.Normalized()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("consul: watch policy of %s: %w", q, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.shut:
		return nil, fmt.Errorf("consul: watch policy of %s: %w", q, discovery.ErrClosed)
	case r.policies >= MaxPolicies:
		return nil, fmt.Errorf("consul: watch policy of %s: %w: %d are open; end some", q, discovery.ErrLimit, r.policies)
	}
	r.policies++
	ch := make(chan discovery.Policy, 1)
	w := &policyWatch{r: r, q: q, key: policyKey(q), ch: ch}
	ctx, cancel := bind(ctx, r.group)
	r.group.Go(func(context.Context) {
		defer cancel()
		w.run(ctx)
	})
	return ch, nil
}

// policyWatch follows one key. It belongs to one goroutine.
type policyWatch struct {
	r   *Registry
	q   discovery.Query
	key string
	ch  chan discovery.Policy

	cursor   cursor
	pacer    pacer
	place    bool // of the budget is held
	plain    bool // the next question does not wait
	delay    time.Duration
	failures int
	known    bool // a document, or that there is none, was delivered
	document []byte
	doubt    time.Time // since when the document is missing from doubtful answers; zero: it is not
	shaken   bool      // the agent was unreachable since the last believed answer
	ill      kind
}

func (w *policyWatch) run(ctx context.Context) {
	defer w.end()
	w.plain = true
	for {
		w.place = w.r.budget.hold(w.place, true, time.Now())
		if !w.turn(ctx) {
			return
		}
		ask := question{mode: plain}
		if w.place && !w.plain && w.cursor.index > 0 {
			ask = question{mode: blocking, index: w.cursor.index, wait: spread(waitLeast, waitMost)}
		}
		document, pos, err := w.fetch(ctx, ask)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errShed):
			w.plain = true
		case err != nil:
			w.failed(err)
		default:
			w.answered(document, pos)
		}
	}
}

func (w *policyWatch) end() {
	if w.place {
		w.r.budget.release(true)
	}
	w.r.mu.Lock()
	w.r.policies--
	w.r.mu.Unlock()
	close(w.ch)
}

func (w *policyWatch) turn(ctx context.Context) bool {
	now := time.Now()
	delay := max(w.delay, w.r.budget.pause(now))
	if w.place && w.known {
		delay = max(delay, w.pacer.next(now, paceSlow))
	}
	w.delay = 0
	return sleep(ctx, delay)
}

func (w *policyWatch) fetch(ctx context.Context, ask question) ([]byte, position, error) {
	if !w.place {
		done, ok := w.r.pollTurn(ctx)
		if !ok {
			return nil, position{}, context.Cause(ctx)
		}
		defer done()
	}
	patient, end := w.r.budget.patience(ctx)
	defer end()
	document, pos, err := w.r.client.fetchPolicy(patient, w.key, ask)
	if err != nil && patient.Err() != nil {
		err = errShed
	}
	return document, pos, err
}

func (w *policyWatch) failed(err error) {
	now := time.Now()
	what := kindOf(err)
	w.failures++
	w.delay = backoff(w.failures, retryLeast, retryMost)
	w.plain = true
	switch what { //nolint:exhaustive // the others are errors of an agent that lives
	case busy:
		w.r.overloaded(now)
		w.delay = spread(busyPause, 2*busyPause)
	case unreachable, hanging:
		w.shaken = true
		if !w.doubt.IsZero() {
			w.doubt = now
		}
	}
	if w.ill != what {
		w.ill = what
		w.r.lines.warn("consul registry: policy cannot be read, the last one stays in force", "key", w.key, "reason", err)
	}
}

func (w *policyWatch) answered(document []byte, pos position) {
	now := time.Now()
	w.failures, w.plain = 0, false
	if w.ill != "" {
		w.ill = ""
		w.r.lines.info("consul registry: policy can be read again", "key", w.key)
	}
	backwards := w.cursor.advance(pos.index, pos.backend)
	if !w.place {
		w.delay = around(policyPoll, 0.2)
	}
	if w.doubts(document, backwards || pos.leaderless, now) {
		w.plain, w.delay = true, PollEvery
		return
	}
	w.doubt, w.shaken = time.Time{}, false
	if w.known && (document == nil) == (w.document == nil) && bytes.Equal(document, w.document) {
		return
	}
	w.known, w.document = true, document
	p := discovery.Policy{Document: document, Origin: "Consul KV " + w.key}
	select {
	case <-w.ch:
	default:
	}
	w.ch <- p // there is room: nobody else sends
}

// doubts reports whether a document is missing that an ill Consul may have lost.
func (w *policyWatch) doubts(document []byte, sign bool, now time.Time) bool {
	if document != nil || w.document == nil {
		return false
	}
	if sign || w.doubt.IsZero() && w.shaken {
		w.doubt = now
	}
	return !w.doubt.IsZero() && now.Sub(w.doubt) < DoubtTime
}
