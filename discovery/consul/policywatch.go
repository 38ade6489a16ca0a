package consul

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/backoff"
)

// policyWatch follows one key. It belongs to one goroutine.
type policyWatch struct {
	r   *Registry
	q   discovery.Query
	key string
	ch  chan discovery.PolicyDocument

	cursor cursor
	pacer  pacer

	// place means that the watch holds a slot of the budget.
	place bool

	// plain means that the next query does not wait.
	plain    bool
	delay    time.Duration
	failures int

	// told means that last was sent to the channel.
	told  bool
	last  discovery.PolicyDocument
	saved time.Time

	// doubt is the start of doubtTime after a doubtful answer lacked the document. It is zero if there
	// is no doubt.
	doubt time.Time

	// shaken means that the agent was unreachable since the last believed answer.
	shaken bool
	ill    kind
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
	if w.place && w.told {
		delay = max(delay, w.pacer.next(now, paceSlow))
	}
	w.delay = 0
	return backoff.Sleep(ctx, delay) == nil
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
	w.delay = retryPause(w.failures, retryLeast, retryMost)
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
	w.unwell(what, reasonOf(err), now)
}

func (w *policyWatch) answered(document []byte, pos position) {
	now := time.Now()
	w.failures, w.plain = 0, false
	backwards := w.cursor.advance(pos.index, pos.backend)
	if !w.place {
		w.delay = around(policyPoll, 0.2)
	}
	if !w.told && document == nil && pos.leaderless {
		// An earlier run may have kept a document.
		w.unwell(hidden, "Consul has no leader, and no document", now)
	}
	if w.doubts(document, backwards || pos.leaderless, now) {
		w.plain, w.delay = true, pollEvery
		w.unwell(hidden, "Consul seems to have lost its state: the document is missing from its answer", now)
		return
	}
	w.doubt, w.shaken = time.Time{}, false
	if w.ill != "" {
		w.ill = ""
		w.r.lines.Info("consul registry: policy can be read again", "key", w.key)
	}
	same := w.told && (document == nil) == (w.last.Document == nil) && bytes.Equal(document, w.last.Document)
	if !same || w.saved.IsZero() || now.Sub(w.saved) >= resaveAfter {
		w.saved = now
		w.r.saver.putPolicy(w.stateKey(), document, now)
	}
	if !same || w.last.Stale {
		w.tell(discovery.PolicyDocument{Document: document, Origin: w.origin()})
	}
}

// unwell marks the policy as stale, and logs if the kind of failure is new. If no policy was sent
// yet, it sends the one kept from an earlier run.
func (w *policyWatch) unwell(what kind, reason string, now time.Time) {
	if !w.told {
		w.last = discovery.PolicyDocument{Origin: w.origin()}
		document, at, ok := w.r.saver.loadPolicy(w.stateKey(), now)
		switch {
		case !ok:
			reason += "; no policy is kept from an earlier run"
		case document == nil:
			reason += "; an earlier run found none at " + at.UTC().Format(time.RFC3339)
		default:
			reason += "; in force is what an earlier run found at " + at.UTC().Format(time.RFC3339)
			w.last.Document = document
		}
	}
	if !w.last.Stale {
		p := w.last
		p.Stale, p.Reason = true, reason
		w.tell(p)
	}
	if w.ill != what {
		w.ill = what
		w.r.lines.Warn("consul registry: policy cannot be read; what was known stays in force",
			"key", w.key, "document", w.last.Document != nil, "reason", reason)
	}
}

// tell replaces the policy in the channel. It does not block, because there is no other sender.
func (w *policyWatch) tell(p discovery.PolicyDocument) {
	w.told, w.last = true, p
	select {
	case <-w.ch:
	default:
	}
	w.ch <- p
}

func (w *policyWatch) origin() string { return "Consul KV " + w.key }

func (w *policyWatch) stateKey() stateKey {
	r := w.r
	return stateKey{Agent: r.client.address, Namespace: r.namespace, Partition: r.partition, Query: w.q.String()}
}

// doubts reports whether the known document is missing from an answer, and a failing Consul may have
// lost it. sign means that the answer itself is doubtful.
func (w *policyWatch) doubts(document []byte, sign bool, now time.Time) bool {
	if document != nil || w.last.Document == nil {
		return false
	}
	if sign || w.doubt.IsZero() && w.shaken {
		w.doubt = now
	}
	return !w.doubt.IsZero() && now.Sub(w.doubt) < doubtTime
}
