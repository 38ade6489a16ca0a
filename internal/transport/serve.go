package transport

import (
	"errors"
	"io"
	"time"

	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/wire"
)

// serveStream serves one stream of the peer to its end, then lets the peer open
// another in its place.
func (s *Session) serveStream(stream carrier.Stream) {
	c := &Call{Session: s, stream: stream}
	defer func() {
		// Drop the buffers, because giveCredit may wait.
		c.fr, c.scope, c.Reply, c.kept = frameReader{}, nil, nil, nil
		s.giveCredit(stream, c.late)
	}()
	c.out = newCallWriter(&s.outbox, stream, true)
	c.fr = newFrameReader(stream, &s.endpoint.limits, s.shares.bytes, true)
	defer c.fr.release()
	kind, err := c.fr.streamType()
	if err != nil {
		c.end(err)
		return
	}
	switch kind { //nolint:exhaustive // the other types are not bidirectional or not known
	case wire.StreamCalls:
		if err := c.serveAll(); err != nil {
			c.end(err)
			return
		}
	case wire.StreamCall:
		c.single = true
		if _, err := c.serve(true); err != nil {
			c.end(err)
			return
		}
	default:
		stream.CancelRead(wire.CodeIgnored)
		stream.CancelWrite(wire.CodeIgnored)
		c.refuse(costRefused)
		return
	}
	stream.Finish()
	stream.CancelRead(wire.CodeNone)
}

// serveAll handles the calls of a CALLS stream, one after another.
func (c *Call) serveAll() error {
	s := c.Session
	s.serving.resting.add(c)
	defer s.serving.resting.remove(c)
	for first := true; ; first = false {
		again, err := c.serve(first)
		if again {
			c.rest.begin(s.endpoint.seconds.Load())
			continue
		}
		// A failed write ends the reading side, so err only says that we gave up.
		if unwritten := c.out.settle(); unwritten != nil {
			err = unwritten
		}
		return err
	}
}

// serve handles one call and reports whether the stream may carry another. A call passes these steps, in this order:
//
//   - readHeaders reads what is asked for,
//   - find finds the route, for the peer that asks,
//   - arrive counts the call, so that a drain waits for it,
//   - authorize asks whether the peer may use the route,
//   - admit finds room for the call,
//   - answer reads the message and has the [Handler] decode and serve it, inside middleware,
//   - write sends the reply.
//
// From find on, a step that refuses the call sets Route.Refuse. The message is then read over, so that the stream can carry
// the next call, and the reply is the refusal. A stream of a pattern passes the same steps up to admit, see serveStream.
func (c *Call) serve(first bool) (again bool, err error) {
	defer c.dropScope()
	if err := c.readHeaders(first); err != nil {
		return false, err
	}
	c.heard = true
	c.odd = !first && !c.odd
	now := time.Now()
	c.find(now)
	if !c.found.Stream {
		return c.handle(&c.found, now)
	}
	if !c.single {
		return false, c.Session.protocolError("a stream of a pattern on a stream for unary calls")
	}
	return false, c.serveStream(c.found, now)
}

// find finds the route of the call, and when the call ends.
func (c *Call) find(now time.Time) {
	e := c.Session.endpoint
	c.found = e.cfg.Handler.Find(c.Session, &c.Headers)
	timeout := min(c.Headers.Timeout, uint64(time.Hour/time.Microsecond))
	c.Deadline = now.Add(min(time.Duration(timeout)*time.Microsecond, e.limits.MaxCallTime))
}

// handle takes a call from its headers to its reply. The call counts until the reply is queued, so that a drain waits for
// it, and a peer that does not read replies uses up its own limits.
func (c *Call) handle(route *Route, now time.Time) (again bool, err error) {
	s := c.Session
	running := s.arrive(route)
	admitted, answered := false, false
	defer func() {
		// The handler may have ended its goroutine with runtime.Goexit. settle waits for the
		// reply of the call before, and fails only if the stream has ended already.
		if !answered {
			_ = c.out.settle()
			c.out.reset(wire.CodeInternal)
		}
		s.leave(admitted)
	}()
	s.authorize(route)
	admitted = c.admit(route, running)
	c.Route, c.early = route.Value, nil
	c.Reply = c.Reply[:0]
	if err := c.answer(route); err != nil {
		// The error leads to a reset, which is the answer.
		answered = true
		return false, err
	}
	c.fr.release()
	err = c.write()
	answered = true
	s.touch(now)
	c.keep()
	return !c.single && err == nil, err
}

// arrive counts a call or stream that has arrived, and returns how many there are on the session; leave must follow. A node
// that drains refuses it.
func (s *Session) arrive(route *Route) (running int64) {
	s.endpoint.begin()
	if s.endpoint.drain.refusing.Load() {
		route.refuse(drainStatus)
	}
	return s.usage.active.Add(1)
}

// authorize refuses a call or stream if the peer may not use the route.
func (s *Session) authorize(route *Route) {
	if route.Guarded && route.Refuse == nil {
		route.Refuse = s.endpoint.cfg.Handler.Authorize(s, route)
	}
}

// admit finds room for a call or stream among those that run, or refuses it. It reports whether it has: then the call counts,
// even if it is refused for another reason. running is what arrive returned. Whatever waits for room should wait here.
func (c *Call) admit(route *Route, running int64) (admitted bool) {
	if route.Refuse == drainStatus {
		return false
	}
	s := c.Session
	if why := s.room(&c.Headers, running); why != nil {
		c.refuse(costRefused)
		route.refuse(s.overload(why))
		return false
	}
	return true
}

// room counts a call among those that run, or returns the limit that leaves no room for it.
func (s *Session) room(h *wire.HeadersView, running int64) error {
	if err := s.shares.calls.Take(1); err != nil {
		return err
	}
	switch {
	case running > int64(s.endpoint.limits.Streams.PerConnection):
		s.shares.calls.Give(1)
		return errStreams
	case s.caller.unsent.lacks(h, s.shares.bytes) && !s.caller.pace.trials.Allow():
		s.shares.calls.Give(1)
		return errUnsent
	}
	return nil
}

// leave ends what arrive and, if the call was admitted, admit began.
func (s *Session) leave(admitted bool) {
	if admitted {
		s.shares.calls.Give(1)
	}
	s.left()
}

// stay makes a drain wait for a reply that waits for the peer; left must follow. The reply
// does not count as a running call: a stream has one such reply at most.
func (s *Session) stay() {
	s.endpoint.begin()
	s.usage.active.Add(1)
}

func (s *Session) left() {
	s.usage.active.Add(-1)
	s.endpoint.end()
}

// refuse notes why a call is refused, unless there is a reason already.
func (r *Route) refuse(why *wire.Status) {
	if r.Refuse == nil {
		r.Refuse = why
	}
}

// answer makes the reply: it reads the message and has the handler serve it. If the route is Early, the handler decides when
// the message is read.
func (c *Call) answer(route *Route) error {
	if route.Early && route.Refuse == nil {
		c.early, c.Message, c.broken = route, nil, nil
		c.spare()
		c.Session.endpoint.cfg.Handler.ServeCall(c)
		return c.broken
	}
	refusal, err := c.readMessage(route)
	if err != nil {
		return err
	}
	c.spare()
	if refusal != nil {
		c.Reply = wire.AppendStatus(c.Reply, refusal, c.StatusFlags())
	} else {
		c.Session.endpoint.cfg.Handler.ServeCall(c)
	}
	return nil
}

// spare ends the stream after this call if streams are scarce, so that the peer opens
// streams as it needs them.
func (c *Call) spare() {
	if c.Session.shares.streams.Scarce() {
		c.single = true
	}
}

// end ends the stream after an error.
func (c *Call) end(err error) {
	refused := c.Session.endStream(&c.out.sendSide, err)
	switch {
	case c.Session.ended():
	case !c.heard, errors.Is(err, errRested):
		c.refuse(costWasted)
	case refused:
		c.refuse(costRefused)
	}
}

// refuse counts a refusal of this cost on the stream. Beyond Limits.Streams.RefusalRate, the stream
// carries no further call and its credit returns late.
func (c *Call) refuse(cost int) {
	if c.late == 0 && c.Session.refusal(cost) {
		c.single, c.late = true, cost
	}
}

// endStream resets a stream after an error of the peer or the connection. It reports whether
// that counts as a refusal, because the peer asked for too much or broke the rules.
func (s *Session) endStream(side *sendSide, err error) (refused bool) {
	code := wire.CodeProtocol
	var own *Error
	var limit *wire.LimitError
	var reset *carrier.ResetError
	switch {
	case errors.Is(err, io.EOF):
		// The peer ended the stream between two calls.
		side.stream.Finish()
		return false
	case errors.As(err, &own) && own.Reason == ReasonOverloaded:
		s.noteShed("InFlightBytes", own.Err.Error())
		code = wire.CodeOverloaded
	case own != nil && own.Reason == ReasonRefused:
		code = wire.CodeRefused
	case errors.As(err, &limit), isTimeout(err):
		code = wire.CodeLimit
	case errors.As(err, &reset):
		code = wire.CodeCanceled
	}
	side.reset(code)
	if code != wire.CodeCanceled && !s.ended() {
		s.endpoint.log.Debug("link: stream reset", "peer", s.remoteAddr, "code", code.String(), "error", err)
	}
	return code == wire.CodeOverloaded || code == wire.CodeLimit || code == wire.CodeProtocol
}

// endRunning is endStream for a stream whose handler runs, or has run. Its code never says
// that no handler saw the stream.
func (s *Session) endRunning(side *sendSide, err error) (refused bool) {
	if own, ok := errors.AsType[*Error](err); ok && own.Reason == ReasonOverloaded {
		s.noteShed("InFlightBytes", own.Err.Error())
		err = errors.Join(&wire.LimitError{What: "stream"}, own.Err)
		// A reset ends the context of the handler, whose cleanup stops the peer with a code that
		// says nothing. CodeLimit must come first.
		side.stream.CancelRead(wire.CodeLimit)
	}
	return s.endStream(side, err)
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
