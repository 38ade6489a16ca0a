package router

import (
	"context"
	"time"

	"github.com/linkmesh/link/internal/balance"
	"github.com/linkmesh/link/internal/clock"
	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/topology"
)

// Search is the choice of instances for one call. It is a value that can be reset and used again. One goroutine at a
// time may use it, except for [Search.MayMove].
type Search struct {
	service *Service
	ask     *Ask
	timing
	course
	looks
	tries
	// on is the instance, and by the connection, on which an attempt is under way.
	on *endpoint
	by *transport.Session
}

// timing is when a call began and must end.
type timing struct {
	// now is the last reading of the clock.
	now      time.Time
	began    time.Time
	deadline time.Time
	// dated means that the caller set the deadline, which no plan changes.
	dated bool
}

// course is where the topology lets a call go.
type course struct {
	// request is what the topology decides by.
	request policy.Request
	plan    *policy.Plan
	// copied means that this is a mirrored copy: its plan is given, and it neither earns nor takes retries.
	copied bool
	// levels are where the call may go, best first; level is the index of the current one.
	levels []level
	level  int
	// unheard is a failover service whose instances are not known yet.
	unheard *Service
	key     balance.Key
	// keyed is the plan that key belongs to.
	keyed *policy.Plan
}

// looks are the instances that a call has looked at.
type looks struct {
	class transport.Class
	tried balance.Tried[*instance]
	// picks counts the instances that the call looked at.
	picks int
	// passed counts the picks that had no connection and that this call did not dial.
	passed int
	// leaver is an instance that announced that it drains.
	leaver *endpoint
	// doubted is an instance with a connection that is in doubt, or that is ejected.
	doubted *endpoint
	pending []pending
	// room is how many instances may be pending at once.
	room int
	// widened means that no pending instance answered soon enough.
	widened bool
	// ended counts the connections that ended as soon as they were made.
	ended int
	// waits is when the call began to wait for an instance.
	waits time.Time
}

// tries are the attempts that were made.
type tries struct {
	attempts int
	// retry means that the previous attempt may have run and that another one is allowed.
	retry bool
	// broke means that another attempt was wanted, but the retry budget was used up.
	broke bool
	// spent means that this settled the last attempt.
	spent bool
	// refusals counts the attempts that no handler saw.
	refusals int
	// redials counts the connections that ended before the call was sent.
	redials int
	// last is the last failure since the call began to go through the instances.
	last failure
	// lost is why the last attempt failed.
	lost failure
}

// failure is an error with its code, which may be an error of another package.
type failure struct {
	code uint32
	err  error
}

// Target is an instance that gets an attempt, with a connection to it.
type Target struct {
	endpoint *endpoint
	Session  *transport.Session
}

// ID returns the ID of the instance.
func (t Target) ID() string { return t.endpoint.Value().ID }

// Error returns an error of the connection to the instance.
func (t Target) Error(err error) *Error { return FromTransport(err, t.endpoint.Value().Instance) }

// Hold counts a stream that was opened to the instance as part of its load, until Release.
func (t Target) Hold() { t.endpoint.Hold() }

// Release ends what Hold began.
func (t Target) Release() { t.endpoint.Release() }

// Find begins the search for a call. It finds the service, whose instances need not be known yet, and checks what the
// call asks for. The search keeps ask. It does not block.
func (s *Search) Find(r *Router, ask *Ask) error {
	if _, err := r.cfg.Endpoint(); err != nil {
		return err
	}
	service, err := r.Service(ask.Service)
	if err != nil {
		return err
	}
	s.service, s.ask = service, ask
	return ask.Validate()
}

// Choose decides where the call may go. It blocks until the instances of the service and its topology are known, at
// most until ctx or the time for the call ends.
func (s *Search) Choose(ctx context.Context) error {
	s.now = time.Now()
	s.began = s.now
	s.deadline, s.dated = ctx.Deadline()
	if err := ctx.Err(); err != nil {
		return errorf(ended(ctx), "before the call: %w", context.Cause(ctx))
	}
	select {
	case <-s.service.known:
	default:
		if err := s.meet(ctx); err != nil {
			return err
		}
	}
	if s.ask.once() {
		// The call could not be retried, so it must not be the probe of an instance that is unlikely to answer.
		s.tried.Careful()
	}
	return s.choose(ctx)
}

// meet waits until the service is known, at most for the timeout of the topology that is known so far.
func (s *Search) meet(ctx context.Context) error {
	s.describe()
	s.limit(s.service.view.Load().plans.Route(&s.request))
	err := s.service.wait(ctx, s.deadline)
	s.now = time.Now()
	return err
}

// limit sets the deadline from the timeout of a plan, else of the method, else of the node, unless the caller has set
// one. The topology comes before the method, because operators can change it while programs run.
func (s *Search) limit(plan *policy.Plan) {
	if s.dated {
		return
	}
	t := plan.Timeout
	if t <= 0 {
		t = s.ask.Timeout
	}
	if t <= 0 {
		t = s.service.router.cfg.CallTimeout
	}
	s.deadline = s.began.Add(t)
}

// Service returns the service that was found.
func (s *Search) Service() *Service { return s.service }

// Now returns the last reading of the clock, which is that of the last step of the search.
func (s *Search) Now() time.Time { return s.now }

// Deadline returns when the call must end.
func (s *Search) Deadline() time.Time { return s.deadline }

// Attempts returns how many attempts were made.
func (s *Search) Attempts() int { return s.attempts }

// Start counts an attempt that begins now, and returns its number, from 1. [Search.Done] ends it.
func (s *Search) Start(t Target) int {
	s.attempts++
	s.on, s.by = t.endpoint, t.Session
	t.endpoint.Begin(clock.Of(s.now))
	return s.attempts
}

// Failed takes in why an attempt that Done did not settle has failed. It is the result of the call if no further
// instance is found.
func (s *Search) Failed(code uint32, err error) {
	s.last, s.lost, s.now = failure{code, err}, failure{code, err}, time.Now()
	s.picks++
}

// nobody returns the error for a call that has tried every instance, or has none.
func (s *Search) nobody() failure {
	last := s.last
	if last.err == nil {
		last = s.lost
	}
	if last.err == nil {
		err := s.none()
		return failure{err.Code, err}
	}
	if err, ok := last.err.(*Error); ok { //nolint:errorlint // one that is wrapped keeps the text around it
		counted := *err
		counted.Attempt = s.attempts
		last.err = &counted
	}
	return last
}

// Mirrored returns the plan of a copy of the call, if the topology asks for one and the call is drawn for it; nil if not.
func (s *Search) Mirrored() *policy.Plan {
	if s.plan.Mirror == nil {
		return nil
	}
	return s.plan.Mirrored(&s.request)
}

// Copy makes c the search of a copy of the call, which follows its own plan and ends when the call ends. The copy
// has the deadline of the call, and keeps ask.
func (s *Search) Copy(c *Search, plan *policy.Plan, ask *Ask) {
	*c = Search{service: s.service, ask: ask, timing: timing{now: s.now, deadline: s.deadline, dated: true}}
	c.plan, c.copied, c.request = plan, true, s.request
	c.request.Meta = ask.Meta
}

// ChooseCopy is Choose for a search that [Search.Copy] made.
func (s *Search) ChooseCopy(ctx context.Context) error { return s.start(ctx) }

// Fault returns the fault that the topology injects, if the call is drawn for it; nil if not.
func (s *Search) Fault() *topology.Fault {
	if s.plan.Fault == nil || !s.plan.Faulted(&s.request) {
		return nil
	}
	return s.plan.Fault
}

// Delayed reads the clock after a pause that was not part of the search.
func (s *Search) Delayed() time.Time {
	s.now = time.Now()
	return s.now
}
