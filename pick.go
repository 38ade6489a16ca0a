package link

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/linkmesh/link/internal/balance"
	"github.com/linkmesh/link/internal/clock"
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

// next returns the instance for the next attempt and a connection to it. It
// prefers a connected instance to one that must be dialed; dials go on in the
// background, for later calls. A non-nil error settles the call.
func (o *outgoing) next(ctx context.Context, class transport.Class) (*endpoint, *transport.Session, error) {
	for {
		var e *endpoint
		ok := false
		if len(o.pending) < o.room || o.passed < maxPassed {
			if o.picks++; o.picks > maxPicks {
				if err := o.nobodyYet(ctx); err != nil {
					return nil, nil, err
				}
			}
			e, ok = o.pick()
		}
		if !ok && len(o.pending) > 0 && !o.key.Set {
			if e, session := o.proven(class); session != nil && !session.Doubtful() && o.mistaken(e.Value(), session) == nil {
				return e, session, nil
			}
		}
		switch {
		case ok:
			if session, err := o.consider(ctx, e, class); session != nil || err != nil {
				return e, session, err
			}
		case len(o.pending) < o.room && o.passed > 0:
			// Go back to the instances that were passed over.
			o.passed = 0
			o.tried.Reset()
			for _, p := range o.pending {
				o.tried.Add(p.endpoint)
			}
		case len(o.pending) > 0 && (!o.widened || !o.further() && o.doubted == nil):
			e, session, err := o.connected(ctx, class)
			if session != nil || err != nil {
				return e, session, err
			}
		case o.further():
			// This level has no instance, or none that answers soon: go on to the next.
			if err := o.descend(ctx); err != nil {
				return nil, nil, err
			}
		case o.doubted != nil:
			// An instance that may be alive is better than none.
			e, o.doubted = o.doubted, nil
			if session := e.Value().peer.Live(class); session != nil && o.mistaken(e.Value(), session) == nil {
				return e, session, nil
			}
		case o.leaver != nil:
			// An instance that drained a while ago is better than none.
			e, o.leaver = o.leaver, nil
			if err := o.connect(ctx, e, class); err != nil {
				return nil, nil, err
			}
		case o.retry:
			// No other instance is left: the same one may be tried again.
			o.retry = false
			o.tried.Reset()
			if err := o.start(ctx); err != nil {
				return nil, nil, err
			}
		case o.service.redial(o.now, class):
			// No instance is connected, but the network may be back.
			o.tried.Reset()
			if err := o.start(ctx); err != nil {
				return nil, nil, err
			}
		case o.config.instance == "" && o.service.forgetTags(o.now):
			// Other instances may be at these addresses by now.
			o.tried.Reset()
			if err := o.start(ctx); err != nil {
				return nil, nil, err
			}
		default:
			if err := o.nobodyYet(ctx); err != nil {
				return nil, nil, err
			}
		}
	}
}

// consider looks at an instance that was picked. It returns the connection if the
// instance can take the call now, and otherwise puts the instance aside. A non-nil
// error settles the call.
func (o *outgoing) consider(ctx context.Context, e *endpoint, class transport.Class) (*transport.Session, error) {
	in, now := e.Value(), clock.Of(o.now)
	if now < in.state.leaving.Load() {
		o.tried.Add(e)
		o.leaver = e
		return nil, nil
	}
	if session := in.peer.Live(class); session != nil {
		if session.Doubtful() {
			o.tried.Add(e)
			o.doubted = e
			return nil, nil
		}
		if err := o.mistaken(in, session); err != nil {
			o.skip(e, err)
			return nil, nil
		}
		// A healthy instance that is nearly connected comes before an ejected one.
		if len(o.pending) > 0 {
			if _, ejected := e.Ejected(now); ejected {
				o.tried.Add(e)
				o.doubted = e
				return nil, nil
			}
		}
		if o.passed > 0 {
			o.levels[o.level].proves(e)
		}
		return session, nil
	}
	o.tried.Add(e)
	if len(o.pending) >= o.room {
		// A connected instance may still come up.
		o.passed++
		return nil, nil
	}
	return nil, o.connect(ctx, e, class)
}

// unreadable returns an error if an instance does not read the codec of this node, so that
// the call goes to another: in the middle of a deploy that changes the codec, some read it.
// Patterns with streams of their own agree on codecs themselves.
func (o *outgoing) unreadable(in *instance, session *transport.Session) error {
	codec := o.service.node.cfg.Codec
	// Streams have no message here.
	if len(o.data) == 0 {
		return nil
	}
	if reads := session.Remote().Codecs; !slices.Contains(reads, uint64(codec.ID())) {
		return Errorf(Unimplemented, "%s reads messages in codecs %v, this node writes %s (%d); do both have the same Config.Codec?", in.ID, reads, codec.Name(), codec.ID())
	}
	return nil
}

// mistaken returns an error if the call is unreadable for an instance, or if a call
// for one instance would be answered by another at the same address: the registry is
// wrong. Registries may add a suffix to an ID that came twice, and a configured list
// has IDs of its own.
func (o *outgoing) mistaken(in *instance, session *transport.Session) error {
	if err := o.unreadable(in, session); err != nil {
		return err
	}
	if o.config.instance == "" {
		return nil
	}
	name := session.Remote().Instance
	if name == "" || strings.HasPrefix(in.ID, name) || in.service.configured() {
		return nil
	}
	return Errorf(Unavailable, "%s is at %s, and not instance %s, which the registry shows there", name, in.Addr, in.ID)
}

// proven returns the instance of this level that was connected last, and its
// connection, if it still has one: among many instances that are not what they seem,
// random picks rarely find it.
func (o *outgoing) proven(class transport.Class) (*endpoint, *transport.Session) {
	if o.config.instance != "" {
		return nil, nil
	}
	l, now := &o.levels[o.level], clock.Of(o.now)
	e := l.proven.Load()
	if e == nil || o.tried.Has(e) || e.Barred(now) {
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
func (o *outgoing) nobodyYet(ctx context.Context) error {
	err := o.nobody()
	if !o.config.wait || CodeOf(err) != Unavailable {
		return err
	}
	left := time.Until(o.deadline)
	if left <= 0 {
		return &Error{Code: DeadlineExceeded, Message: "while waiting for an instance: " + err.Error(), Attempt: o.attempts, Cause: context.DeadlineExceeded}
	}
	o.tellWait(err)
	defer o.service.pin()()
	tick := time.NewTimer(min(left, waitTick))
	defer tick.Stop()
	select {
	case <-o.service.changed():
	case <-tick.C:
	case <-ctx.Done():
		return &Error{Code: CodeOf(ctx.Err()), Message: "while waiting for an instance: " + err.Error(), Attempt: o.attempts, Cause: context.Cause(ctx)}
	}
	o.now = time.Now()
	o.picks, o.last = 0, nil
	o.tried.Reset()
	// The topology may have changed.
	return o.plot(ctx)
}

// waitTold is how long a call waits before that is logged, once per service until it has an instance: a call to a
// misspelled name may wait for long.
const waitTold = 5 * time.Second

func (o *outgoing) tellWait(why error) {
	switch {
	case o.waits.IsZero():
		o.waits = o.now
	case o.now.Sub(o.waits) >= waitTold && o.service.say(saidWait):
		o.service.node.cfg.Logger.Warn("link: calls wait for an instance", "route", o.Route.String(), "for", o.now.Sub(o.waits).Round(time.Second), "error", why)
	}
}

func (o *outgoing) skip(e *endpoint, err error) {
	o.tried.Add(e)
	o.last, o.now = err, time.Now()
}

// nobody returns the error for a call that has tried every instance, or has none.
func (o *outgoing) nobody() error {
	last := o.last
	if last == nil {
		last = o.failure
	}
	if last == nil {
		return o.none()
	}
	err := failed("", last)
	err.Attempt = o.attempts
	return err
}

// unreached handles an instance to which there is no connection: nothing was sent,
// so another is tried. A non-nil error settles the call.
func (o *outgoing) unreached(ctx context.Context, e *endpoint, class transport.Class, err error) error {
	in := e.Value()
	mapped := fromTransport(err, in)
	if te, ok := errors.AsType[*transport.Error](err); ok {
		switch te.Reason { //nolint:exhaustive // the others are the way of networks
		case transport.ReasonIdentity, transport.ReasonForbidden:
			in.bar(e, time.Now().Add(ejectTime), mapped)
			// This pick does not count: the instance costs one try per ejectTime, and others may be honest.
			o.picks--
			what := "presents a wrong identity"
			if te.Reason == transport.ReasonForbidden {
				what = "has an address that may not be dialed"
			}
			o.service.node.cfg.Logger.Warn("link: instance "+what+", not tried for a while",
				"service", in.service.name, "instance", in.ID, "addr", in.Addr, "error", err, "for", ejectTime)
		case transport.ReasonDraining:
			in.left()
		case transport.ReasonCanceled:
			if ctx.Err() != nil || te.OutOfTime() {
				return mapped
			}
		case transport.ReasonClosed:
			return errNodeClosed
		default:
			if again := in.peer.RetryAt(class); !again.IsZero() {
				in.bar(e, again, mapped)
			}
		}
	}
	o.skip(e, mapped)
	return nil
}
