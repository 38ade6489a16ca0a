package consul

import (
	"context"
	"time"

	"github.com/linkmesh/link/internal/backoff"
)

const (
	// retryLeast and retryMost bound the backoff of failed queries, which has full jitter.
	retryLeast = 250 * time.Millisecond
	retryMost  = 30 * time.Second

	// doubtEvery is how often a blocking watch queries again while it doubts an answer.
	doubtEvery = time.Second

	// emptyPace is the longest query interval of a watch that knows no instance. Without streaming,
	// every registration in the cluster wakes it, and yet it must see the first instance within a
	// second.
	emptyPace = time.Second
)

// subject is the target of a watch: the instances of a service, or the services that have a tag.
type subject interface {
	ask(ctx context.Context, ask question, known []member) (answer, error)

	// show stores the state of source n and publishes.
	show(n int, p part)

	// slowest returns the longest query interval of a watch that knows this number of members.
	slowest(known int) time.Duration

	// load returns the state that an earlier run has saved for a datacenter. save saves it.
	load(dc string, now time.Time) ([]member, time.Time)
	save(dc string, members []member, now time.Time)

	// attr returns the key and value that identify the subject in log lines.
	attr() (key string, value any)
}

// source follows one subject in one datacenter. It belongs to one goroutine.
type source struct {
	r *Registry
	f subject

	// n is the index of the part of the subject.
	n int

	// dc is the datacenter, "" for the agent's own.
	dc string

	keeper keeper
	cursor cursor
	pacer  pacer

	// place means that the source holds a slot of the budget.
	place bool

	// plain means that the next query must be plain.
	plain bool

	// failures counts consecutive failures.
	failures int

	// delay is the wait before the next query.
	delay time.Duration

	// free means that the pacer does not count the next query.
	free bool

	// asked means that a query has been answered or has failed.
	asked bool

	// visible means that an answer had entries, so that an empty answer is not due to a missing token.
	visible bool

	// shown is the published state. reason says why it is stale and is "" if it is not.
	shown  []member
	reason string
	ill    kind
	saved  time.Time

	// skipped and foreign count the entries left out of the last answer.
	skipped int
	foreign int
}

func (s *source) run(ctx context.Context) {
	r := s.r
	s.plain, s.free = true, true
	defer func() {
		if s.place {
			r.budget.release(false)
		}
	}()
	for {
		s.place = r.budget.hold(s.place, false, time.Now())
		done, ok := s.turn(ctx)
		if !ok {
			return
		}
		q := s.question()
		patient, end := r.budget.patience(ctx)
		a, err := s.f.ask(patient, q, s.keeper.known)
		shed := patient.Err() != nil
		end()
		done()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && shed:
			s.plain, s.free = true, true
		case err != nil:
			s.failed(err)
		default:
			s.answered(q, a)
		}
	}
}

// turn waits until the next query may be made. Sources without a slot of the budget share a few
// connections.
func (s *source) turn(ctx context.Context) (done func(), ok bool) {
	now := time.Now()
	delay := max(s.delay, s.r.budget.pause(now))
	if s.place && !s.free {
		delay = max(delay, s.pacer.next(now, s.f.slowest(len(s.keeper.known))))
	}
	s.delay, s.free = 0, false
	if backoff.Sleep(ctx, delay) != nil {
		return nil, false
	}
	if s.place {
		return func() {}, true
	}
	return s.r.pollTurn(ctx)
}

func (s *source) question() question {
	q := question{dc: s.dc, mode: plain}
	switch {
	case s.plain:
	case !s.place:
		q.mode = cached
	case s.cursor.index > 0:
		// The wait is random. Otherwise watches that began together would always end together.
		q.mode, q.index, q.wait = blocking, s.cursor.index, spread(waitLeast, waitMost)
	}
	return q
}

// failed handles a failed query: it keeps the known state and marks it as stale.
func (s *source) failed(err error) {
	now := time.Now()
	r := s.r
	what := kindOf(err)
	s.failures++
	s.delay = retryPause(s.failures, retryLeast, retryMost)
	switch what { //nolint:exhaustive // the others are errors of an agent that lives
	case busy:
		r.overloaded(now)
		s.delay = spread(busyPause, 2*busyPause)
	case unreachable, hanging:
		s.keeper.shake(now)
	case erring:
		// The agent answers with an error for another datacenter that it cannot reach.
		if s.dc != "" {
			s.keeper.shake(now)
		}
	}
	s.plain, s.free = true, true
	if !s.asked {
		s.asked = true
		members, at := s.f.load(s.dc, now)
		if len(members) > 0 {
			s.keeper.known, s.keeper.at, s.shown = members, at, members
		}
	}
	if s.ill != what {
		s.ill, s.reason = what, s.because(err)
		r.lines.Warn("consul registry: cannot be read; the last known instances stay in use",
			s.attrs("instances", len(s.shown), "reason", err)...)
	}
	s.show()
}

// answered handles an answer.
func (s *source) answered(q question, a answer) {
	now := time.Now()
	s.asked, s.failures, s.plain = true, 0, false
	backwards := s.cursor.advance(a.index, a.backend)
	if !s.place {
		s.delay = around(pollEvery, 0.2)
		// Spread out watches that began together.
		if q.mode == plain {
			s.delay = spread(0, pollEvery)
		}
	}
	s.visible = s.visible || len(a.members)+a.foreign+a.bad > 0
	a.hidden = a.hidden || a.open && !s.visible
	if q.mode != plain && a.backend == backendStreaming && len(s.keeper.known) > 0 && s.keeper.mostLost(a.members) {
		// Streaming does not distinguish a lost permission from a lost instance, so query again.
		s.plain, s.free, s.delay = true, true, 0
		return
	}
	s.count(a)
	v := s.keeper.judge(a.members, signs{backwards: backwards, leaderless: a.leaderless, hidden: a.hidden}, now)
	if v.believed {
		s.recovered()
		if changed := !sameMembers(s.shown, a.members); changed || now.Sub(s.saved) >= resaveAfter {
			s.saved = now
			s.f.save(s.dc, a.members, now)
		}
		s.shown, s.reason = a.members, ""
		s.show()
		return
	}
	s.shown = s.keeper.with(a.members)
	// The next query does not wait: whether to believe an answer depends on what it lacks now.
	s.plain = true
	switch {
	case !s.place || a.hidden:
		s.delay = around(pollEvery, 0.2)
	case v.recheck > 0:
		s.delay = min(doubtEvery, v.recheck)
	}
	if s.ill != hidden || s.reason != v.why {
		s.ill, s.reason = hidden, v.why
		s.r.lines.Warn("consul registry: answer not believed; the last known instances stay in use",
			s.attrs("instances", len(s.shown), "answered", len(a.members), "reason", v.why)...)
	}
	s.show()
}

// because returns the reason of a stale snapshot. It leaves out the service, which the snapshot names.
func (s *source) because(err error) string {
	reason := reasonOf(err)
	if s.dc != "" {
		reason = "datacenter " + s.dc + ": " + reason
	}
	return reason
}

// attrs returns the attributes of a log line: those that identify the source, then rest.
func (s *source) attrs(rest ...any) []any {
	key, value := s.f.attr()
	all := []any{key, value}
	if s.dc != "" {
		all = append(all, "datacenter", s.dc)
	}
	return append(all, rest...)
}

func (s *source) recovered() {
	if s.ill != "" {
		s.ill = ""
		s.r.lines.Info("consul registry: can be read again", s.attrs()...)
	}
}

// count logs the number of entries left out of an answer, when it changes.
func (s *source) count(a answer) {
	r := s.r
	if n := a.bad + a.over; n != s.skipped {
		s.skipped = n
		if n > 0 {
			if a.over > 0 {
				a.reason = "more instances than a snapshot holds"
			}
			r.lines.Warn("consul registry: entries left out", s.attrs("entries", n, "first", a.reason)...)
		}
	}
	if a.foreign != s.foreign {
		s.foreign = a.foreign
		r.log.Debug("consul registry: entries that link did not register, or for other namespaces, are left out",
			s.attrs("entries", a.foreign)...)
	}
	if len(a.members) > 0 && s.dc == "" {
		r.learn(a.members[0].dc)
	}
}

func (s *source) show() { s.f.show(s.n, part{members: s.shown, at: s.keeper.at, reason: s.reason}) }
