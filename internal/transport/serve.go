package transport

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/wire"
)

// Handler serves the calls and streams of peers. Its methods are called on many
// goroutines at once.
type Handler interface {
	// Find looks up the route of a call before its message is read.
	Find(s *Session, h *wire.HeadersView) Route
	// Admit returns why the peer may not use a route that is Guarded, or nil if it may.
	// It is called before the message of a call or a frame of a stream is read. It may
	// block: the call counts already.
	Admit(s *Session, r *Route) *wire.Status
	// ServeCall handles one unary call on the goroutine that reads its stream.
	ServeCall(c *Call)
	// ServeStream handles one stream of a pattern. The stream ends when it
	// returns.
	ServeStream(s *Stream)
}

// Route is what a [Handler] knows of a route.
type Route struct {
	// Value is for the handler.
	Value any
	// Stream selects ServeStream rather than ServeCall.
	Stream bool
	// Lasting is for streams: a drain waits for all others first, see Stream.LastCall.
	Lasting bool
	// MaxMessage is the size of the largest message in bytes. 0 means Limits.MaxMessage.
	MaxMessage int
	// Guarded means that Admit decides who may use the route.
	Guarded bool
	// Early means that ServeCall runs before the message is read. It calls Receive or Decline.
	Early bool
	// Refuse, if it is not nil, is the status with which the call ends. No handler sees the call.
	Refuse *wire.Status
}

// Call is one incoming unary call. It is valid until ServeCall returns.
type Call struct {
	Session *Session
	// Route is Route.Value.
	Route any
	// Headers and Message alias buffers. In a call that is Early, Message is nil until Receive.
	Headers  wire.HeadersView
	Message  []byte
	Deadline time.Time
	// Reply is an empty buffer; ServeCall appends DATA, if any, and STATUS.
	// The status frame must carry [Call.StatusFlags].
	Reply []byte

	stream carrier.Stream
	out    callWriter
	fr     frameReader
	// kept is the next buffer for Reply, see keep.
	kept []byte
	// scope is the copy of the headers, and scopeTaken what it counts in the peer's share of bytes.
	scope      []byte
	scopeTaken int64
	// single means that the stream carries no further call.
	single bool
	// late is the cost of the stream that delays its credit, see giveCredit. 0 delays nothing.
	late int
	// heard means that a call has begun on the stream.
	heard bool
	// odd means that the call is the second, fourth, ... on the stream.
	odd bool
	// rest is how a CALLS stream waits between calls.
	rest rest
	// found is the route of the call. It is kept here because a pointer to it outlives Find.
	found Route
	// early points to found until the message has been received or declined.
	early *Route
	// broken is the error with which Receive or Decline found the stream broken.
	broken error
}

// Canceled returns a context that ends when the caller is gone.
func (c *Call) Canceled() context.Context { return c.out.ctx }

// Handlers returns the context that ends, with a cause, when the endpoint
// cancels handlers that still run.
func (s *Session) Handlers() context.Context { return s.endpoint.drain.handlers }

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

// refuse counts a refusal of this cost on the stream. Beyond Limits.RefusalRate, the stream
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

// serve handles one call and reports whether the stream may carry another.
func (c *Call) serve(first bool) (again bool, err error) {
	e := c.Session.endpoint
	defer c.dropScope()
	if err := c.readHeaders(first); err != nil {
		return false, err
	}
	c.heard = true
	c.odd = !first && !c.odd
	now := time.Now()
	c.found = e.cfg.Handler.Find(c.Session, &c.Headers)
	if c.found.Stream {
		if !c.single {
			return false, c.Session.protocolError("a stream of a pattern on a stream for unary calls")
		}
		return false, c.serveStream(c.found, now)
	}
	timeout := min(time.Duration(min(c.Headers.Timeout, uint64(time.Hour/time.Microsecond)))*time.Microsecond, e.limits.MaxCallTime)
	c.Deadline = now.Add(timeout)
	return c.handle(&c.found, now)
}

// enter counts a call, or returns the status with which it must be refused. A drain waits
// for either; leave must follow.
func (s *Session) enter(h *wire.HeadersView) (refusal *wire.Status) {
	e := s.endpoint
	e.begin()
	running := s.usage.active.Add(1)
	if e.drain.refusing.Load() {
		return drainStatus
	}
	if err := s.shares.calls.Take(1); err != nil {
		return s.overload(err)
	}
	if running > int64(e.limits.StreamsPerConnection) {
		s.shares.calls.Give(1)
		return s.overload(errStreams)
	}
	if s.caller.unsent.lacks(h, s.shares.bytes) && !s.caller.pace.trials.Allow() {
		s.shares.calls.Give(1)
		return s.overload(errUnsent)
	}
	return nil
}

// leave ends what enter began. A refused call counts only for the drain.
func (s *Session) leave(refusal *wire.Status) {
	if refusal == nil {
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

// handle reads the message of a call and answers it. The call counts from here on, so
// that a drain waits for its message, and until its reply is queued, so that a peer that
// does not read replies uses up its own limits.
func (c *Call) handle(route *Route, now time.Time) (again bool, err error) {
	s := c.Session
	refused := s.enter(&c.Headers)
	if refused != nil && refused != drainStatus {
		c.refuse(costRefused)
	}
	answered := false
	defer func() {
		// The handler may have ended its goroutine with runtime.Goexit. settle waits for the
		// reply of the call before, and fails only if the stream has ended already.
		if !answered {
			_ = c.out.settle()
			c.out.reset(wire.CodeInternal)
		}
		s.leave(refused)
	}()
	s.admit(route, refused)
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

// admit sets Refuse if the peer has too much in flight or may not use the route.
func (s *Session) admit(route *Route, refused *wire.Status) {
	if route.Refuse == nil {
		route.Refuse = refused
	}
	if route.Guarded && route.Refuse == nil {
		route.Refuse = s.endpoint.cfg.Handler.Admit(s, route)
	}
}

// answer makes the reply.
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
