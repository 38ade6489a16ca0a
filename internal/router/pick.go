package router

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/linkmesh/link/internal/balance"
	"github.com/linkmesh/link/internal/clock"
	"github.com/linkmesh/link/internal/codes"
	"github.com/linkmesh/link/internal/transport"
)

const (
	// maxPicks bounds how many instances one call looks at, including those that
	// never saw it.
	maxPicks = 256
	// firstPending is how many instances without a connection one call dials at
	// first; the first that answers gets the call. Each time widenAfter passes
	// without an answer, the call dials as many more, up to maxPending, so that one
	// honest instance among a hundred silent ones is found by its first caller.
	// The delay is that of RFC 8305, section 8.
	firstPending = 2
	maxPending   = balance.MaxTried
	widenAfter   = 250 * time.Millisecond
	// maxPassed is how many further instances without a connection a call passes
	// over, in search of a connected one, before it waits for its dials.
	maxPassed = 8
)

type endpoint = balance.Endpoint[*instance]

// Next returns the instance for the next attempt and a connection of that class to it. It
// prefers a connected instance to one that must be dialed; dials go on in the
// background, for later calls. It blocks until there is a connection, at most until ctx
// ends or the time for the call does. A non-nil error settles the call.
func (s *Search) Next(ctx context.Context, class transport.Class) (Target, error) {
	s.class = class
	e, session, err := s.next(ctx, class)
	return Target{e, session}, err
}

func (s *Search) next(ctx context.Context, class transport.Class) (*endpoint, *transport.Session, error) {
	for {
		var e *endpoint
		ok := false
		if len(s.pending) < s.room || s.passed < maxPassed {
			if s.picks++; s.picks > maxPicks {
				if err := s.nobodyYet(ctx); err != nil {
					return nil, nil, err
				}
			}
			e, ok = s.pick()
		}
		if !ok && len(s.pending) > 0 && !s.key.Set {
			if e, session := s.proven(class); session != nil && !session.Doubtful() && s.mistaken(e.Value(), session) == nil {
				return e, session, nil
			}
		}
		switch {
		case ok:
			if session, err := s.consider(ctx, e, class); session != nil || err != nil {
				return e, session, err
			}
		case len(s.pending) < s.room && s.passed > 0:
			// Go back to the instances that were passed over.
			s.passed = 0
			s.tried.Reset()
			for _, p := range s.pending {
				s.tried.Add(p.endpoint)
			}
		case len(s.pending) > 0 && (!s.widened || !s.further() && s.doubted == nil):
			e, session, err := s.connected(ctx, class)
			if session != nil || err != nil {
				return e, session, err
			}
		case s.further():
			// This level has no instance, or none that answers soon: go on to the next.
			if err := s.descend(ctx); err != nil {
				return nil, nil, err
			}
		case s.doubted != nil:
			// An instance that may be alive is better than none.
			e, s.doubted = s.doubted, nil
			if session := e.Value().peer.Live(class); session != nil && s.mistaken(e.Value(), session) == nil {
				return e, session, nil
			}
		case s.leaver != nil:
			// An instance that drained a while ago is better than none.
			e, s.leaver = s.leaver, nil
			if err := s.connect(ctx, e, class); err != nil {
				return nil, nil, err
			}
		case s.retry:
			// No other instance is left: the same one may be tried again.
			s.retry = false
			s.tried.Reset()
			if err := s.start(ctx); err != nil {
				return nil, nil, err
			}
		case s.service.redial(s.now, class):
			// No instance is connected, but the network may be back.
			s.tried.Reset()
			if err := s.start(ctx); err != nil {
				return nil, nil, err
			}
		case s.ask.Instance == "" && s.service.forgetTags(s.now):
			// Other instances may be at these addresses by now.
			s.tried.Reset()
			if err := s.start(ctx); err != nil {
				return nil, nil, err
			}
		default:
			if err := s.nobodyYet(ctx); err != nil {
				return nil, nil, err
			}
		}
	}
}

// consider looks at an instance that was picked. It returns the connection if the
// instance can take the call now, and otherwise puts the instance aside. A non-nil
// error settles the call.
func (s *Search) consider(ctx context.Context, e *endpoint, class transport.Class) (*transport.Session, error) {
	in, now := e.Value(), clock.Of(s.now)
	if now < in.state.leaving.Load() {
		s.tried.Add(e)
		s.leaver = e
		return nil, nil
	}
	if session := in.peer.Live(class); session != nil {
		if session.Doubtful() {
			s.tried.Add(e)
			s.doubted = e
			return nil, nil
		}
		if err := s.mistaken(in, session); err != nil {
			s.skip(e, err)
			return nil, nil
		}
		// A healthy instance that is nearly connected comes before an ejected one.
		if len(s.pending) > 0 {
			if _, ejected := e.Ejected(now); ejected {
				s.tried.Add(e)
				s.doubted = e
				return nil, nil
			}
		}
		if s.passed > 0 {
			s.levels[s.level].proves(e)
		}
		return session, nil
	}
	s.tried.Add(e)
	if len(s.pending) >= s.room {
		// A connected instance may still come up.
		s.passed++
		return nil, nil
	}
	return nil, s.connect(ctx, e, class)
}

// unreadable returns an error if an instance does not read the codec of this node, so that
// the call goes to another: in the middle of a deploy that changes the codec, some read it.
// Patterns with streams of their own agree on codecs themselves.
func (s *Search) unreadable(in *instance, session *transport.Session) *Error {
	// Streams have no message here.
	if !s.ask.Encoded {
		return nil
	}
	codec := s.service.router.cfg.Node.Codec
	if reads := session.Remote().Codecs; !slices.Contains(reads, uint64(codec.ID())) {
		return errorf(codes.Unimplemented, "%s reads codecs %v, but this node writes %s (%d); do both have the same Config.Codec?", in.ID, reads, codec.Name(), codec.ID())
	}
	return nil
}

// mistaken returns an error if the call is unreadable for an instance, or if a call
// for one instance would be answered by another at the same address: the registry is
// wrong. Registries may add a suffix to an ID that came twice, and a configured list
// has IDs of its own.
func (s *Search) mistaken(in *instance, session *transport.Session) *Error {
	if err := s.unreadable(in, session); err != nil {
		return err
	}
	if s.ask.Instance == "" {
		return nil
	}
	name := session.Remote().Instance
	if name == "" || strings.HasPrefix(in.ID, name) || in.service.configured() {
		return nil
	}
	return errorf(codes.Unavailable, "the instance at %s is %s, not %s as the registry says", in.Addr, name, in.ID)
}

// proven returns the instance of this level that was connected last, and its
// connection, if it still has one: among many instances that are not what they seem,
// random picks rarely find it.
func (s *Search) proven(class transport.Class) (*endpoint, *transport.Session) {
	if s.ask.Instance != "" {
		return nil, nil
	}
	l, now := &s.levels[s.level], clock.Of(s.now)
	e := l.proven.Load()
	if e == nil || s.tried.Has(e) || e.Barred(now) {
		return nil, nil
	}
	// Get the current version of the instance.
	e, ok := e.Value().service.set.Lookup(e.Key())
	if !ok || l.match != nil && !l.match(e.Value()) || now < e.Value().state.leaving.Load() {
		return nil, nil
	}
	return e, e.Value().peer.Live(class)
}

// waitTick is how often a call that waits for an instance looks again, for dials
// that may be retried; a change in the registry wakes it at once.
const waitTick = 100 * time.Millisecond

// nobodyYet returns why there is no instance to call. With WaitForReady it waits
// for a change instead and returns nil.
func (s *Search) nobodyYet(ctx context.Context) error {
	found := s.nobody()
	err := found.err
	if !s.ask.Wait || found.code != codes.Unavailable {
		return err
	}
	left := time.Until(s.deadline)
	if left <= 0 {
		return &Error{Code: codes.DeadlineExceeded, Message: "while waiting for an instance: " + err.Error(), Attempt: s.attempts, Cause: context.DeadlineExceeded}
	}
	s.tellWait(err)
	defer s.service.pin()()
	tick := time.NewTimer(min(left, waitTick))
	defer tick.Stop()
	select {
	case <-s.service.changed():
	case <-tick.C:
	case <-ctx.Done():
		return &Error{Code: ended(ctx), Message: "while waiting for an instance: " + err.Error(), Attempt: s.attempts, Cause: context.Cause(ctx)}
	}
	s.now = time.Now()
	s.picks, s.last = 0, failure{}
	s.tried.Reset()
	// The topology may have changed.
	return s.plot(ctx)
}

// waitTold is how long a call waits before that is logged, once per service until it has an instance: a call to a
// misspelled name may wait for long.
const waitTold = 5 * time.Second

func (s *Search) tellWait(why error) {
	switch {
	case s.waits.IsZero():
		s.waits = s.now
	case s.now.Sub(s.waits) >= waitTold && s.service.say(saidWait):
		s.service.router.cfg.Logger.Warn("link: calls wait for an instance", "route", s.ask.Service+"/"+s.ask.Name, "for", s.now.Sub(s.waits).Round(time.Second), "error", why)
	}
}

func (s *Search) skip(e *endpoint, err *Error) {
	s.tried.Add(e)
	s.last, s.now = failure{err.Code, err}, time.Now()
}

// Unreached takes in that a connection that Next returned was of no use: nothing was sent on it. A non-nil error settles
// the call.
func (s *Search) Unreached(ctx context.Context, t Target, err error) error {
	if err := s.unreached(ctx, t.endpoint, s.class, err); err != nil {
		return err
	}
	s.picks++
	return nil
}

// unreached handles an instance to which there is no connection: nothing was sent,
// so another is tried. A non-nil error settles the call.
func (s *Search) unreached(ctx context.Context, e *endpoint, class transport.Class, err error) error {
	in := e.Value()
	mapped := FromTransport(err, in.Instance)
	if te, ok := errors.AsType[*transport.Error](err); ok {
		switch te.Reason { //nolint:exhaustive // the others are the way of networks
		case transport.ReasonIdentity, transport.ReasonForbidden:
			// This pick does not count: the instance costs one try per ejectTime, and others may be honest.
			s.picks--
			if !in.eject(e, mapped) {
				break
			}
			what := "presents the wrong identity"
			if te.Reason == transport.ReasonForbidden {
				what = "has an address that may not be dialed"
			}
			s.service.router.cfg.Logger.Warn("link: instance "+what+"; it is not tried again for a while",
				"service", in.service.name, "instance", in.ID, "addr", in.Addr, "error", err, "for", ejectTime)
		case transport.ReasonDraining:
			in.left()
		case transport.ReasonCanceled:
			if ctx.Err() != nil || te.OutOfTime() {
				return mapped
			}
		case transport.ReasonClosed:
			return errClosed
		default:
			if again := in.peer.RetryAt(class); !again.IsZero() {
				in.bar(e, again, mapped)
			}
		}
	}
	s.skip(e, mapped)
	return nil
}
