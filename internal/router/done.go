package router

import (
	"context"
	"errors"
	"time"

	"github.com/linkmesh/link/internal/balance"
	"github.com/linkmesh/link/internal/clock"
	"github.com/linkmesh/link/internal/codes"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/internal/wire"
)

// Outcome is how an attempt ended: with a reply or with an error.
type Outcome struct {
	// Start and End are when the attempt began and ended.
	Start, End time.Time
	// Reply is what the instance replied, nil if there was no reply.
	Reply *wire.Status
	// RetryAfter is how long the instance asks to wait before another attempt.
	RetryAfter time.Duration
	// Err is why there was no reply. An error that is not of the transport settles the call.
	Err error
}

// Done takes in how an attempt ended, and reports whether the call is settled: by a reply, or by an error that another
// attempt must not follow. If it is not, the caller calls Failed with the error, and Next for the next attempt. Done may
// block: for the routes of the instance, which say whether a call may run twice, and for the pause before a retry.
func (s *Search) Done(ctx context.Context, t Target, out *Outcome) (settled bool) {
	s.now, s.spent = out.End, false
	if out.Reply != nil {
		return s.replied(ctx, t, out)
	}
	return s.broken(ctx, t, out)
}

// replied is Done for a reply.
func (s *Search) replied(ctx context.Context, t Target, out *Outcome) (settled bool) {
	start, end := clock.Of(out.Start), clock.Of(out.End)
	if out.Reply.Code == 0 {
		t.endpoint.End(start, end, balance.Answered)
		return true
	}
	t.endpoint.End(start, end, blame(out.Reply))
	s.tried.Add(t.endpoint)
	switch code := uint32(min(out.Reply.Code, uint64(codes.Highest)+1)); {
	case out.Reply.Refused:
		settled = !s.elsewhere(code == codes.ResourceExhausted)
	case code != codes.Unavailable:
		return true
	default:
		s.careful(ctx, t)
		settled = !s.again(ctx, out.RetryAfter)
	}
	s.spent = s.broke
	return settled
}

// blame returns how an error reply counts for its instance. Only what the library
// itself saw counts against the instance: it refused the call, or its handler panicked.
// An error that a handler returns on purpose does not, whatever its code, and neither
// does a refusal by an instance that drains and is about to leave.
func blame(s *wire.Status) balance.Outcome {
	if s.Broken || s.Refused && s.Code != uint64(codes.Unavailable) {
		return balance.Faulted
	}
	return balance.Erred
}

// broken is Done for an attempt that got no reply.
func (s *Search) broken(ctx context.Context, t Target, out *Outcome) (settled bool) {
	e := t.endpoint
	te, ok := errors.AsType[*transport.Error](out.Err)
	if !ok {
		e.Abandon()
		return true
	}
	if outcome, ok := outcomeOf(te); ok {
		e.End(clock.Of(out.Start), clock.Of(out.End), outcome)
	} else {
		e.Abandon()
	}
	if te.Reason == transport.ReasonDraining {
		e.Value().left()
	}
	switch {
	case te.Reason == transport.ReasonDoubt:
		// MayMove has agreed to move the call. If no other instance is left after all,
		// the same one may be tried again.
		s.tried.Add(e)
		s.retry = true
		return false
	case te.Reason == transport.ReasonCanceled, te.Reason == transport.ReasonLimit, codeOfTransport(te) == codes.Internal:
		// Internal means a protocol violation, or a handler that ended its goroutine.
		return true
	case te.NotProcessed && te.Reason == transport.ReasonLost && s.redials < maxRedials:
		// The connection ended before the call was sent; the instance may be healthy.
		s.redials++
		return false
	}
	s.tried.Add(e)
	if te.NotProcessed {
		settled = !s.elsewhere(te.Reason == transport.ReasonOverloaded)
	} else {
		s.careful(ctx, t)
		settled = !s.again(ctx, 0)
	}
	s.spent = s.broke
	return settled
}

// maxRedials is how often one call tries an instance again because its connection
// ended, by idleness or age, just before the call was sent.
const maxRedials = 2

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

// careful applies the level that the server announces, which may have arrived since the call was sent: the first call on
// a connection may overtake the routes, which have a stream of their own. It waits up to NamesWait for them.
func (s *Search) careful(ctx context.Context, t Target) {
	if s.ask.Level == Unsafe {
		return
	}
	t.Session.AwaitRoutes(ctx.Done(), NamesWait, s.deadline)
	if r, known := t.Session.Route(s.ask.Number, s.ask.Name); known {
		s.Heed(t, r)
	}
}

// levelOf returns the level that a server announces. An unknown level counts as [Unsafe].
func levelOf(r transport.PeerRoute) Level {
	if r.Level > uint64(ReadOnly) {
		return Unsafe
	}
	return Level(r.Level)
}

// Heed applies the level that the server announced for the method, if that is the more careful one: the server knows
// what its method does, and a retry that it does not expect would do harm there.
func (s *Search) Heed(t Target, r transport.PeerRoute) {
	theirs := levelOf(r)
	if theirs >= s.ask.Level {
		return
	}
	if s.service.say("level " + s.ask.Name) {
		s.service.router.cfg.Logger.Warn("link: this node and the server declare different levels for a method; the server's is more careful and applies",
			"service", s.ask.Service, "method", s.ask.Name, "instance", t.ID(), "served", theirs, "called", s.ask.Level,
			"fix", "pass NewMethod the same level on both sides")
	}
	s.ask.Level = theirs
}
