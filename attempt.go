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
)

// attempt sends the call to one instance. It reports whether the call is
// settled, by a reply or by an error that another attempt must not follow.
func (o *outgoing) attempt(ctx context.Context, e *endpoint, session *transport.Session) (settled bool, err error) {
	in := e.Value()
	if limit := session.Remote().MaxMessage; uint64(o.size) > limit {
		return true, o.tooLarge(limit, in)
	}
	o.attempts++
	o.headers.Attempt = uint64(o.attempts - 1)
	o.setRoute(session)
	o.span.Attempt(o.attempts, in.ID)
	e.Begin()
	start := o.now
	reply := &o.reply
	if err := session.Call(ctx, start, o.deadline, &o.headers, o.data, reply); err != nil {
		o.now = time.Now()
		return o.broken(ctx, e, err, start, o.now)
	}
	o.now = reply.At
	defer reply.Release()
	o.record(session, reply)
	if reply.Status.Code == 0 {
		e.End(clock.Of(start), clock.Of(o.now), false)
		return true, o.decode(session, reply)
	}
	return o.failed(ctx, e, session, reply, start)
}

// tooLarge, as failed and broken, is apart from attempt so that the goroutines that wait
// for replies have small stacks: with many calls under way they would not fit the caches.
func (o *outgoing) tooLarge(limit uint64, in *instance) error {
	return Errorf(ResourceExhausted, "request of %d bytes exceeds the Config.Limits.MaxMessage of %d bytes of %s", o.size, limit, in.ID)
}

// failed deals with a reply that is an error.
func (o *outgoing) failed(ctx context.Context, e *endpoint, session *transport.Session, reply *transport.Reply, start time.Time) (settled bool, err error) {
	code := Code(reply.Status.Code)
	e.End(clock.Of(start), clock.Of(o.now), overloaded(code))
	o.tried.Add(e)
	failure := fromStatus(&reply.Status, peerOf(session).String())
	failure.Attempt = o.attempts
	switch {
	case reply.Status.Refused:
		return !o.elsewhere(code == ResourceExhausted), failure
	case code != Unavailable:
		return true, failure
	}
	return !o.again(ctx, time.Duration(reply.Status.RetryAfter)*time.Millisecond), failure
}

// overloaded reports whether a code says that the instance should get less work.
func overloaded(c Code) bool {
	return c == Unavailable || c == ResourceExhausted || c == Internal || c == DataLoss || c == DeadlineExceeded
}

func (o *outgoing) setRoute(session *transport.Session) {
	if id, ok := session.Route(uint64(o.Route.Kind), o.Route.Name); ok {
		o.headers.Route, o.headers.RouteID = "", id
		return
	}
	o.headers.Route, o.headers.RouteKind = o.Route.Name, uint64(o.Route.Kind)
}

// broken deals with an attempt that got no reply.
func (o *outgoing) broken(ctx context.Context, e *endpoint, err error, start, now time.Time) (settled bool, _ error) {
	te, ok := errors.AsType[*transport.Error](err)
	if !ok {
		e.Abandon()
		return true, err
	}
	if te.Reason == transport.ReasonCanceled {
		if te.OutOfTime() {
			e.End(clock.Of(start), clock.Of(now), true)
		} else {
			e.Abandon()
		}
	} else if te.NotProcessed && te.Reason != transport.ReasonOverloaded {
		e.Abandon()
	} else {
		e.End(clock.Of(start), clock.Of(now), true)
	}
	if te.Reason == transport.ReasonDraining {
		e.Value().left()
	}
	mapped := fromTransport(te, e.Value())
	mapped.Attempt = o.attempts
	if !te.NotProcessed && (te.Reason == transport.ReasonLost || te.Reason == transport.ReasonCanceled) {
		mapped.Message += "; the call may have run"
	}
	switch {
	case te.Reason == transport.ReasonCanceled, te.Reason == transport.ReasonLimit,
		mapped.Code == Internal: // bytes that are not allowed, or a handler that ended its goroutine
		return true, mapped
	case te.NotProcessed && te.Reason == transport.ReasonLost && o.redials < maxRedials:
		o.redials++ // the connection ended before the call left; the instance may be well
		return false, mapped
	case te.NotProcessed:
		o.tried.Add(e)
		return !o.elsewhere(te.Reason == transport.ReasonOverloaded), mapped
	}
	o.tried.Add(e)
	return !o.again(ctx, 0), mapped
}

// maxRefusals bounds how often a call goes on to another instance because no
// handler saw it.
const maxRefusals = balance.MaxTried

// elsewhere reports whether a call that no handler saw goes to another instance.
// One that drains costs nothing; what overloaded instances refuse comes out of
// the budget of retries, or a whole service that is overloaded would be asked
// many times for each call.
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

// most is how many attempts the call has.
func (o *outgoing) most() int {
	if n := o.plan.Retry.Attempts; n > 0 {
		return n
	}
	return maxAttempts
}

// retries reports whether the topology lets calls be sent again that failed with
// a code.
func (o *outgoing) retries(code string) bool {
	return o.plan.Retry.On == nil || slices.Contains(o.plan.Retry.On, code)
}

// takeRetry takes a retry out of the service's budget.
func (o *outgoing) takeRetry() bool {
	share := retryShare
	if budget := o.plan.Retry.Budget; budget > 0 {
		share = float64(budget) / 100
	}
	return o.service.budget.take(time.Now(), share)
}

// record fills in what the options asked for.
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
		return &Error{Code: Internal, Peer: peerOf(session).String(), Message: fmt.Sprintf("decoding the reply into %T: %v", o.Response, err), Cause: err}
	}
	return nil
}
