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
	// maxPicks bounds how many instances one call looks at, those included that
	// never saw it.
	maxPicks = 256
	// firstPending is how many instances without a connection one call connects to
	// at first; the first that answers gets the call. Each time widenAfter passes
	// and none has answered, it connects to as many more, up to maxPending: one
	// honest instance among a hundred silent ones is found by its first caller.
	// The delay is that of RFC 8305, section 8.
	firstPending = 2
	maxPending   = balance.MaxTried
	widenAfter   = 250 * time.Millisecond
	// maxPassed is how many further instances without a connection it passes over,
	// in search of one that has one, before it waits for those.
	maxPassed = 8
)

type endpoint = balance.Endpoint[*instance]

// next returns the instance for the next attempt and a connection to it. It
// prefers an instance that has one to one that must be dialed: the dial goes on
// in the background, for later calls. The error settles the call.
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
		case len(o.pending) < o.room && o.passed > 0: // back to those that were passed over
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
		case o.further(): // nobody here, or none that answers at once: on to the next level
			if err := o.descend(ctx); err != nil {
				return nil, nil, err
			}
		case o.doubted != nil: // better one that may live than nobody
			e, o.doubted = o.doubted, nil
			if session := e.Value().peer.Live(class); session != nil && o.mistaken(e.Value(), session) == nil {
				return e, session, nil
			}
		case o.leaver != nil: // better one that drained a while ago than nobody
			e, o.leaver = o.leaver, nil
			if err := o.connect(ctx, e, class); err != nil {
				return nil, nil, err
			}
		case o.retry: // nobody else is left: the same instance may do
			o.retry = false
			o.tried.Reset()
			if err := o.start(ctx); err != nil {
				return nil, nil, err
			}
		case o.service.redial(o.now, class): // nobody is connected: the network may be back
			o.tried.Reset()
			if err := o.start(ctx); err != nil {
				return nil, nil, err
			}
		case o.config.instance == "" && o.service.forgetTags(o.now): // instances may be others by now
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

// consider looks at an instance that was picked. It returns its connection, if
// it has one, or puts it aside. The error settles the call.
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
		if len(o.pending) > 0 { // a healthy one that is nearly connected comes first
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
		o.passed++ // others that are connected may still come up
		return nil, nil
	}
	return nil, o.connect(ctx, e, class)
}

// unreadable says that an instance does not read the codec of this node, so that calls go to
// others: in the middle of a deploy that changes it some do. Patterns with streams of their
// own agree on codecs themselves.
func (o *outgoing) unreadable(in *instance, session *transport.Session) error {
	codec := o.service.node.cfg.Codec
	if len(o.data) == 0 { // a stream
		return nil
	}
	if reads := session.Remote().Codecs; !slices.Contains(reads, uint64(codec.ID())) {
		return Errorf(Unimplemented, "%s reads messages in codecs %v, this node writes %s (%d); do both have the same Config.Codec?", in.ID, reads, codec.Name(), codec.ID())
	}
	return nil
}

// mistaken says that a call for one instance would be answered by another, that
// is at the same address: the registry is wrong. Registries may add a suffix to an
// ID that came twice, and a list that was configured has IDs of its own.
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
// connection, if it has one still: among many that are not what they seem, draws
// alone find it seldom.
func (o *outgoing) proven(class transport.Class) (*endpoint, *transport.Session) {
	if o.config.instance != "" {
		return nil, nil
	}
	l, now := &o.levels[o.level], clock.Of(o.now)
	e := l.proven.Load()
	if e == nil || o.tried.Has(e) || e.Barred(now) {
		return nil, nil
	}
	e, ok := e.Value().service.set.Lookup(e.Key()) // as it is now
	if !ok || l.match != nil && !l.match(e.Value()) || now < e.Value().state.leaving.Load() {
		return nil, nil
	}
	return e, e.Value().peer.Live(class)
}

// waitTick is how often a call that waits for an instance looks again, for
// dials that may be tried again; a change in the registry wakes it at once.
const waitTick = 100 * time.Millisecond

// nobodyYet returns why there is nobody to call, or waits for that to change if
// the call says so.
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
	return o.plot(ctx) // the topology may have changed
}

// waitTold is after how long it is logged, once for a service until it has an instance, that a call waits: what
// is misspelled may wait for long.
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

// nobody is the error when every instance was tried or there is none.
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

// unreached deals with an instance to which there is no connection: nothing was
// sent, so another is tried. It returns an error if the call is over.
func (o *outgoing) unreached(ctx context.Context, e *endpoint, class transport.Class, err error) error {
	in := e.Value()
	mapped := fromTransport(err, in)
	if te, ok := errors.AsType[*transport.Error](err); ok {
		switch te.Reason { //nolint:exhaustive // the others are the way of networks
		case transport.ReasonIdentity, transport.ReasonForbidden:
			in.bar(e, time.Now().Add(ejectTime), mapped)
			o.picks-- // it costs this one try in all that time; others may be honest
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
