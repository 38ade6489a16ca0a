package link

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/linkmesh/link/internal/balance"
	"github.com/linkmesh/link/internal/clock"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/internal/wire"
)

// attempt sends the call to one instance. It reports whether the call is
// settled, by a reply or by an error that another attempt must not follow.
func (o *outgoing) attempt(ctx context.Context, e *endpoint, session *transport.Session) (settled bool, err error) {
	in := e.Value()
	if err := o.fit(ctx, session, in); err != nil {
		return true, err
	}
	o.attempts++
	o.headers.Attempt = uint64(o.attempts - 1)
	o.span.Attempt(o.attempts, in.ID)
	start := o.now
	e.Begin(clock.Of(start))
	reply := &o.reply
	var mover transport.Mover
	if o.Route.Level == ReadOnly {
		o.at, o.by, mover = e, session, o
	}
	if err := session.CallMovable(ctx, start, o.deadline, &o.headers, o.data, mover, reply); err != nil {
		o.now = time.Now()
		return o.broken(ctx, e, session, err, start, o.now)
	}
	o.now = reply.At
	defer reply.Release()
	o.record(session, reply)
	if reply.Status.Code == 0 {
		e.End(clock.Of(start), clock.Of(o.now), balance.Answered)
		return true, o.decode(session, reply)
	}
	return o.failed(ctx, e, session, reply, start)
}

// failed handles a reply that is an error.
func (o *outgoing) failed(ctx context.Context, e *endpoint, session *transport.Session, reply *transport.Reply, start time.Time) (settled bool, err error) {
	code := Code(reply.Status.Code)
	e.End(clock.Of(start), clock.Of(o.now), blame(&reply.Status))
	o.tried.Add(e)
	failure := fromStatus(&reply.Status, peerOf(session).String())
	if failure.Code == Unimplemented {
		failure.Message += proposeRoute(ctx.Done(), o.Route, session, o.deadline)
	}
	failure.Attempt = o.attempts
	switch {
	case reply.Status.Refused:
		settled = !o.elsewhere(code == ResourceExhausted)
	case code != Unavailable:
		return true, failure
	default:
		o.careful(ctx, session, e.Value())
		settled = !o.again(ctx, failure.RetryAfter)
	}
	o.noteBudget(failure)
	return settled, failure
}

// noteBudget adds to an error that the retry budget kept the call from being sent again.
func (o *outgoing) noteBudget(e *Error) {
	if o.broke {
		e.Message += fmt.Sprintf("; not sent again: the retries of calls to %s are limited to %.0f %% of the calls and %d a second, and used up",
			o.Route.Service, 100*o.retryShare(), retryPerSecond)
	}
}

// blame returns how an error reply counts for its instance. Only what the library
// itself saw counts against the instance: it refused the call, or its handler panicked.
// An error that a handler returns on purpose does not, whatever its code, and neither
// does a refusal by an instance that drains and is about to leave.
func blame(s *wire.Status) balance.Outcome {
	if s.Broken || s.Refused && Code(s.Code) != Unavailable {
		return balance.Faulted
	}
	return balance.Erred
}

// broken handles an attempt that got no reply.
func (o *outgoing) broken(ctx context.Context, e *endpoint, session *transport.Session, err error, start, now time.Time) (settled bool, failure error) {
	te, ok := errors.AsType[*transport.Error](err)
	if !ok {
		e.Abandon()
		return true, err
	}
	if outcome, ok := outcomeOf(te); ok {
		e.End(clock.Of(start), clock.Of(now), outcome)
	} else {
		e.Abandon()
	}
	if te.Reason == transport.ReasonDraining {
		e.Value().left()
	}
	mapped := fromTransport(te, e.Value())
	mapped.Attempt = o.attempts
	if !te.NotProcessed && (te.Reason == transport.ReasonLost || te.Reason == transport.ReasonCanceled || te.Reason == transport.ReasonDoubt) {
		mapped.Message += "; the call may have run"
	}
	switch {
	case te.Reason == transport.ReasonDoubt:
		// MayMove has agreed to move the call. If no other instance is left after all,
		// the same one may be tried again.
		o.tried.Add(e)
		o.retry = true
		return false, mapped
	case te.Reason == transport.ReasonCanceled, te.Reason == transport.ReasonLimit,
		mapped.Code == Internal:
		// Internal means a protocol violation, or a handler that ended its goroutine.
		return true, mapped
	case te.NotProcessed && te.Reason == transport.ReasonLost && o.redials < maxRedials:
		// The connection ended before the call was sent; the instance may be healthy.
		o.redials++
		return false, mapped
	}
	o.tried.Add(e)
	if te.NotProcessed {
		settled = !o.elsewhere(te.Reason == transport.ReasonOverloaded)
	} else {
		o.careful(ctx, session, e.Value())
		settled = !o.again(ctx, 0)
	}
	o.noteBudget(mapped)
	return settled, mapped
}

// outcomeOf returns how an attempt without a reply counts for its instance. It reports
// false if the attempt does not count: it was never sent, or its caller gave it up.
func outcomeOf(te *transport.Error) (o balance.Outcome, ok bool) {
	switch te.Reason { //nolint:exhaustive // the rest is silence
	case transport.ReasonCanceled:
		return balance.Unanswered, te.OutOfTime()
	case transport.ReasonOverloaded:
		return balance.Faulted, true
	}
	if te.NotProcessed {
		return 0, false
	}
	switch te.Reason { //nolint:exhaustive // the rest is silence
	case transport.ReasonRefused, transport.ReasonReset, transport.ReasonProtocol:
		return balance.Faulted, true
	case transport.ReasonLimit:
		// The reply is larger than this side accepts.
		return balance.Erred, true
	}
	return balance.Unanswered, true
}

// maxRefusals bounds how often a call moves on to another instance because no
// handler saw it.
const maxRefusals = balance.MaxTried

// elsewhere reports whether a call that no handler saw goes to another instance.
// A call that was refused for overload takes a retry from the budget; otherwise
// each call would be sent many times to a service that is overloaded as a whole.
// Other refusals, such as those of a draining instance, cost nothing.
func (o *outgoing) elsewhere(overloaded bool) bool {
	o.refusals++
	if overloaded {
		return o.attempts < o.most() && o.retries("resource_exhausted") && o.takeRetry()
	}
	return o.refusals <= maxRefusals
}

// again reports whether a call that may have run is sent once more, after a
// pause.
func (o *outgoing) again(ctx context.Context, pause time.Duration) bool {
	if o.Route.Level == Unsafe && o.config.key == "" || o.attempts >= o.most() || !o.retries("unavailable") {
		return false
	}
	if time.Until(o.deadline) <= pause || !o.takeRetry() {
		return false
	}
	if pause > 0 {
		t := time.NewTimer(pause)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return false
		}
	}
	o.retry = retryPause(ctx, o.attempts+1, o.deadline)
	return o.retry
}

// most returns the maximum number of attempts. A mirrored copy has one: retries are for calls that somebody waits for.
func (o *outgoing) most() int {
	if o.copied {
		return 1
	}
	if n := o.plan.Retry.Attempts; n > 0 {
		return n
	}
	return maxAttempts
}

// retries reports whether the topology allows retries of calls that failed with
// the given code.
func (o *outgoing) retries(code string) bool {
	return o.plan.Retry.On == nil || slices.Contains(o.plan.Retry.On, code)
}

// takeRetry takes a retry from the service's budget and reports whether there was one.
func (o *outgoing) takeRetry() bool {
	o.broke = !o.service.budget.take(time.Now(), o.retryShare())
	return !o.broke
}

// retryShare returns how many retries each call earns, a fraction of one.
func (o *outgoing) retryShare() float64 {
	if budget := o.plan.Retry.Budget; budget > 0 {
		return float64(budget) / 100
	}
	return retryShare
}

// record stores the results that the options asked for, and Peer for middleware.
func (o *outgoing) record(session *transport.Session, reply *transport.Reply) {
	if o.config.answered != nil {
		*o.config.answered = peerOf(session)
	}
	if len(o.service.node.cfg.Client) > 0 {
		o.Peer = peerOf(session)
	}
	if o.config.reply != nil {
		o.config.reply.pairs = reply.Status.Metadata
	}
}

func (o *outgoing) decode(session *transport.Session, reply *transport.Reply) error {
	if o.Response == nil {
		return nil
	}
	if reply.Message == nil {
		return &Error{Code: Internal, Peer: peerOf(session).String(), Message: "the reply holds no message"}
	}
	if err := o.service.node.cfg.Codec.Decode(reply.Message, o.Response); err != nil {
		e := failed("", uncoded(err, Internal, "decoding the reply into %T", o.Response))
		e.Peer = peerOf(session).String()
		return e
	}
	return nil
}
