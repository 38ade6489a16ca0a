package transport

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link/internal/wire"
)

// Handler serves what peers open. Its methods are called on many goroutines at
// once.
type Handler interface {
	// Find looks up the route of a call before its message is read.
	Find(s *Session, h *wire.HeadersView) Route
	// Admit says why the peer may not use a route that is Guarded, before the message
	// of a call or a frame of a stream is read; nil if it may. It may block: the call
	// counts already.
	Admit(s *Session, r *Route) *wire.Status
	// ServeCall handles one unary call on the goroutine that reads its stream.
	ServeCall(c *Call)
	// ServeStream handles one stream of a pattern. The stream ends when it
	// returns.
	ServeStream(s *Stream)
}

// Route is what a [Handler] knows of a route.
type Route struct {
	Value      any          // for the handler
	Stream     bool         // ServeStream rather than ServeCall
	Lasting    bool         // for a stream: a drain waits for others first; see Stream.Quiet
	MaxMessage int          // largest message; 0 is Limits.MaxMessage
	Guarded    bool         // Admit decides
	Early      bool         // ServeCall runs before the message is read; it calls Receive or Decline
	Refuse     *wire.Status // not nil: the call ends with it and no handler sees it
}

// Call is one incoming unary call. It is valid until ServeCall returns.
type Call struct {
	Session  *Session
	Route    any              // Route.Value
	Headers  wire.HeadersView // aliases a buffer
	Message  []byte           // aliases a buffer; nil in a call that is Early, until Receive
	Deadline time.Time
	// Reply is an empty buffer; ServeCall appends DATA, if any, and STATUS.
	// The status frame must carry [Call.StatusFlags].
	Reply []byte

	stream *quic.Stream
	out    callWriter
	fr     frameReader
	kept   []byte // what Reply is next, see keep
	scope  []byte
	// scopeTaken is what scope counts in the peer's share of bytes.
	scopeTaken int64
	single     bool // the stream carries no further call
	late       int  // what the stream counts until the peer may open another in its place; 0: at once
	heard      bool // a call has begun on it
	odd        bool // it is the second call on the stream, the fourth and so on
	rest       rest // how a CALLS stream waits between calls
	// restedSince is the second in which it began to, whatever came since that is no call.
	restedSince int64
	found       Route  // the route of the call; kept here, as a pointer to it outlives Find
	early       *Route // found, until the message has been received or declined
	broken      error  // why the stream is broken, found by Receive or Decline
}

// Canceled returns a context that ends when the caller is gone.
func (c *Call) Canceled() context.Context { return c.stream.Context() }

// Handlers returns the context that ends, with a cause, when the endpoint
// cancels what still runs.
func (s *Session) Handlers() context.Context { return s.endpoint.handlers }

// serveStream runs one stream of the peer's to its end, then lets the peer open
// another in its place.
func (s *Session) serveStream(stream *quic.Stream) {
	c := &Call{Session: s, stream: stream}
	defer func() {
		c.fr, c.scope, c.Reply, c.kept = frameReader{}, nil, nil, nil // giveCredit may wait
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
		stream.CancelRead(quic.StreamErrorCode(wire.CodeIgnored))
		stream.CancelWrite(quic.StreamErrorCode(wire.CodeIgnored))
		c.refuse(costRefused)
		return
	}
	_ = stream.Close() // fails only if the peer is gone
	stream.CancelRead(quic.StreamErrorCode(wire.CodeNone))
}

// serveAll handles the calls of a CALLS stream, one after another.
func (c *Call) serveAll() error {
	s := c.Session
	s.resting.add(c)
	defer s.resting.remove(c)
	for first := true; ; first = false {
		again, err := c.serve(first)
		if again {
			c.restedSince = s.endpoint.seconds.Load()
			c.rest.begin(c.restedSince)
			continue
		}
		if unwritten := c.out.settle(); unwritten != nil {
			err = unwritten // and err is that we gave up
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

// refuse counts that something was refused on the stream. If that is too often, the
// stream carries no further call, and its credit returns late.
func (c *Call) refuse(cost int) {
	if c.late == 0 && c.Session.refusal(cost) {
		c.single, c.late = true, cost
	}
}

// endStream resets a stream after an error of the peer's or of the connection. It reports
// whether that refuses something: the peer asked for too much or broke the rules.
func (s *Session) endStream(side *sendSide, err error) (refused bool) {
	code := wire.CodeProtocol
	var own *Error
	var limit *wire.LimitError
	var reset *quic.StreamError
	switch {
	case errors.Is(err, io.EOF):
		_ = side.stream.Close() // the peer ended the stream between two calls
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

// endRunning is endStream for a stream whose handler runs, or has run: it never says
// that no handler saw it.
func (s *Session) endRunning(side *sendSide, err error) (refused bool) {
	if own, ok := errors.AsType[*Error](err); ok && own.Reason == ReasonOverloaded {
		s.noteShed("InFlightBytes", own.Err.Error())
		err = errors.Join(&wire.LimitError{What: "stream"}, own.Err)
		// A reset ends the context of the handler, and who cleans up after it stops the peer
		// with a code that says nothing: ours goes first.
		side.stream.CancelRead(quic.StreamErrorCode(wire.CodeLimit))
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

// enter counts a call that is handled here, or says why it must be refused. A drain
// waits for both; leave must follow.
func (s *Session) enter(h *wire.HeadersView) (refusal *wire.Status) {
	e := s.endpoint
	e.begin()
	running := s.active.Add(1)
	if e.refusing.Load() {
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

// leave ends what enter began. A refused call counts for the drain alone.
func (s *Session) leave(refusal *wire.Status) {
	if refusal == nil {
		s.shares.calls.Give(1)
	}
	s.left()
}

// stay makes a drain wait for a reply that waits for the peer; left must follow. It
// does not count as a call that runs: a stream has one such reply at most.
func (s *Session) stay() {
	s.endpoint.begin()
	s.active.Add(1)
}

func (s *Session) left() {
	s.active.Add(-1)
	s.endpoint.end()
}

// handle reads the message of a call and answers it. The call counts from here
// on, so that a drain waits for its message, until its reply is queued, so that
// one who does not read replies uses up its own limits.
func (c *Call) handle(route *Route, now time.Time) (again bool, err error) {
	s := c.Session
	refused := s.enter(&c.Headers)
	if refused != nil && refused != drainStatus {
		c.refuse(costRefused)
	}
	answered := false
	defer func() {
		if !answered { // also when the handler ended its goroutine (runtime.Goexit)
			_ = c.out.settle() // the reply of the call before; it fails only if the stream ended already
			c.out.reset(wire.CodeInternal)
		}
		s.leave(refused)
	}()
	s.admit(route, refused)
	c.Route, c.early = route.Value, nil
	c.Reply = c.Reply[:0]
	if err := c.answer(route); err != nil {
		answered = true // by the reset that the error leads to
		return false, err
	}
	c.fr.release()
	err = c.write()
	answered = true
	s.touch(now)
	c.keep()
	return !c.single && err == nil, err
}

// admit sets Refuse if the peer has too much under way or may not use the route.
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

// spare gives up the stream behind this call if streams are scarce, so that the peer
// opens them as it needs them.
func (c *Call) spare() {
	if c.Session.shares.streams.Scarce() {
		c.single = true
	}
}
