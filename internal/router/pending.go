package router

import (
	"context"
	"reflect"
	"time"

	"github.com/linkmesh/link/internal/codes"
	"github.com/linkmesh/link/internal/transport"
)

// pending is an instance to which the call waits to be connected.
type pending struct {
	endpoint *endpoint
	dial     *transport.Dial
}

// maxEnded bounds how often, in all, a call waits for the next connection because the one that it waited for ended as
// soon as it was made.
const maxEnded = 16

// connect begins to connect to an instance. A non-nil error settles the call.
func (s *Search) connect(ctx context.Context, e *endpoint, class transport.Class) error {
	dial, err := e.Value().peer.Connect(class)
	if err != nil {
		return s.unreached(ctx, e, class, err)
	}
	s.pending = append(s.pending, pending{e, dial})
	return nil
}

// connected waits for the first of the pending instances. It returns nil if that
// instance cannot be used, or if it is time to connect to one more. A non-nil error
// settles the call.
func (s *Search) connected(ctx context.Context, class transport.Class) (*endpoint, *transport.Session, error) {
	p, err := s.await(ctx)
	if err != nil || p == nil {
		return nil, nil, err
	}
	e := p.endpoint
	in := e.Value()
	if _, err := p.dial.Result(); err != nil {
		return nil, nil, s.unreached(ctx, e, class, err)
	}
	session := in.peer.Live(class)
	if session == nil {
		// The connection has ended since. The call waits for the next one as it waits for the others.
		if s.ended++; s.ended > maxEnded {
			return nil, nil, s.unreached(ctx, e, class, &transport.Error{Reason: transport.ReasonLost, Peer: in.Addr, NotProcessed: true, Detail: "its connections end as soon as they are up"})
		}
		return nil, nil, s.connect(ctx, e, class)
	}
	// Whatever the instance announced before, it takes calls now.
	in.state.leaving.Store(0)
	if err := s.mistaken(in, session); err != nil {
		s.skip(e, err)
		return nil, nil, nil
	}
	if now, ok := in.service.set.Lookup(in.ID); ok && now.Value() != in {
		// The instance has changed since it was picked, maybe by what it just announced:
		// it may no longer be one that the call is for.
		s.tried.Reset()
		for _, p := range s.pending {
			s.tried.Add(p.endpoint)
		}
		return nil, nil, nil
	}
	s.levels[s.level].proves(e)
	return e, session, nil
}

// await returns the first of the pending instances whose dial has ended, or nil
// when it is time to connect to one more.
func (s *Search) await(ctx context.Context) (*pending, error) {
	patience := s.patience()
	if patience <= 0 && s.room < maxPending {
		return s.ready(), nil
	}
	deadline := time.NewTimer(time.Until(s.deadline))
	defer deadline.Stop()
	widen := time.NewTimer(max(patience, 1))
	defer widen.Stop()
	if s.room == maxPending {
		widen.Stop()
	}
	receive := func(c any) reflect.SelectCase {
		return reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(c)}
	}
	cases := []reflect.SelectCase{receive(deadline.C), receive(ctx.Done()), receive(widen.C), receive(s.service.changed())}
	for _, p := range s.pending {
		cases = append(cases, receive(p.dial.Done()))
	}
	// A dial takes far longer than reflection.
	chosen, _, _ := reflect.Select(cases)
	s.now = time.Now()
	switch chosen {
	case 0:
		return nil, s.notConnected(codes.DeadlineExceeded, context.DeadlineExceeded)
	case 1:
		return nil, s.notConnected(ended(ctx), context.Cause(ctx))
	case 2:
		return s.widen(), nil
	case 3:
		// There may be a new instance that answers at once.
		s.room = min(s.room+1, maxPending)
		return nil, nil
	}
	return s.dialed(chosen - 4), nil
}

// dialed removes a pending instance from the list and returns it.
func (s *Search) dialed(i int) *pending {
	p := s.pending[i]
	s.pending = append(s.pending[:i], s.pending[i+1:]...)
	return &p
}

// widen lets the call connect to more instances at once. It returns nil.
func (s *Search) widen() *pending {
	s.room, s.widened = min(2*s.room, maxPending), true
	return nil
}

// ready is await without waiting.
func (s *Search) ready() *pending {
	for i, p := range s.pending {
		select {
		case <-p.dial.Done():
			s.now = time.Now()
			return s.dialed(i)
		default:
		}
	}
	return s.widen()
}

// patience returns how long the call waits for its dials before it connects to others. Each
// dial has widenAfter from when it began, so that calls do not wait, one after the other, for
// an instance that does not answer.
func (s *Search) patience() time.Duration {
	latest := s.pending[0].dial.Began()
	for _, p := range s.pending[1:] {
		if began := p.dial.Began(); began.After(latest) {
			latest = began
		}
	}
	return time.Until(latest.Add(widenAfter))
}

func (s *Search) notConnected(code uint32, cause error) error {
	in := s.pending[0].endpoint.Value()
	return &Error{Code: code, Peer: in.ID + " at " + in.Addr, Message: "while connecting: " + cause.Error(), Cause: cause, Attempt: s.attempts}
}
