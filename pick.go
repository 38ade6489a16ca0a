package link

import (
	"context"
	"errors"
	"time"

	"github.com/linkmesh/link/internal/balance"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/internal/wire"
)

const (
	// maxPicks bounds how many instances one call looks at, those included that
	// never saw it.
	maxPicks = 32
	// maxPending is how many instances without a connection one call connects to
	// at once: the first that answers gets it.
	maxPending = 2
)

type endpoint = balance.Endpoint[*instance]

// pending is an instance that the call waits to be connected to.
type pending struct {
	endpoint *endpoint
	done     <-chan struct{}
}

// next returns the instance for the next attempt and a connection to it. It
// prefers an instance that has one to one that must be dialed: the dial goes on
// in the background, for later calls. The error settles the call.
func (o *outgoing) next(ctx context.Context, class wire.Class) (*endpoint, *transport.Session, error) {
	for ; o.picks < maxPicks; o.picks++ {
		var e *endpoint
		ok := false
		if len(o.pending) < maxPending {
			e, ok = o.service.table.Pick(o.now.UnixNano(), &o.tried)
		}
		switch {
		case ok:
			in := e.Value()
			if err := in.shunned(o.now.UnixNano()); err != nil {
				o.skip(e, err)
				continue
			}
			if session := in.peer.Live(class); session != nil {
				return e, session, nil
			}
			o.tried.Add(e)
			done, err := in.peer.Connect(class)
			if err == nil {
				o.pending = append(o.pending, pending{e, done})
				continue
			}
			if err := o.unreached(ctx, e, err); err != nil {
				return nil, nil, err
			}
		case len(o.pending) > 0:
			e, err := o.await(ctx)
			if err != nil {
				return nil, nil, err
			}
			session, err := e.Value().peer.Session(ctx, class)
			if err == nil {
				return e, session, nil
			}
			if err := o.unreached(ctx, e, err); err != nil {
				return nil, nil, err
			}
		case o.retry: // nobody else is left: the same instance may do
			o.retry = false
			o.tried.Reset()
		default:
			if err := o.nobodyYet(ctx); err != nil {
				return nil, nil, err
			}
		}
	}
	return nil, nil, o.nobody()
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
	tick := time.NewTimer(min(left, waitTick))
	defer tick.Stop()
	select {
	case <-o.service.changed():
	case <-tick.C:
	case <-ctx.Done():
		return Errorf(CodeOf(ctx.Err()), "while waiting for an instance: %w", context.Cause(ctx))
	}
	o.now = time.Now()
	o.picks, o.last = 0, nil
	o.tried.Reset()
	return nil
}

// await returns the first of the pending instances whose dial has ended.
func (o *outgoing) await(ctx context.Context) (*endpoint, error) {
	deadline := time.NewTimer(time.Until(o.deadline))
	defer deadline.Stop()
	var second <-chan struct{}
	if len(o.pending) > 1 {
		second = o.pending[1].done
	}
	i := 0
	select {
	case <-o.pending[0].done:
	case <-second:
		i = 1
	case <-deadline.C:
		return nil, o.notConnected(context.DeadlineExceeded)
	case <-ctx.Done():
		return nil, o.notConnected(context.Cause(ctx))
	}
	o.now = time.Now()
	e := o.pending[i].endpoint
	o.pending = append(o.pending[:i], o.pending[i+1:]...)
	return e, nil
}

func (o *outgoing) notConnected(cause error) error {
	in := o.pending[0].endpoint.Value()
	code := CodeOf(cause)
	if code == Unknown {
		code = Canceled
	}
	return &Error{Code: code, Peer: in.ID + " at " + in.Addr, Message: "while connecting: " + cause.Error(), Cause: cause, Attempt: o.attempts}
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
		return o.service.none()
	}
	err := failed("", last)
	err.Attempt = o.attempts
	return err
}

// unreached deals with an instance to which there is no connection: nothing was
// sent, so another is tried. It returns an error if the call is over.
func (o *outgoing) unreached(ctx context.Context, e *endpoint, err error) error {
	in := e.Value()
	if te, ok := errors.AsType[*transport.Error](err); ok {
		switch te.Reason { //nolint:exhaustive // the others are the way of networks
		case transport.ReasonIdentity:
			in.ejected.Store(time.Now().Add(ejectTime).UnixNano())
			o.service.node.cfg.Logger.Warn("link: instance presents a wrong identity, not tried for a while",
				"service", o.service.name, "instance", in.ID, "addr", in.Addr, "error", err, "for", ejectTime)
		case transport.ReasonDraining:
			in.left()
		case transport.ReasonCanceled:
			if ctx.Err() != nil {
				return fromTransport(te, in)
			}
		case transport.ReasonClosed:
			return errNodeClosed
		}
	}
	o.skip(e, fromTransport(err, in))
	return nil
}
