package transport

import (
	"context"
	"time"

	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/wire"
)

// Handler serves the calls and streams of peers. Its methods are called on many
// goroutines at once.
type Handler interface {
	// Find looks up the route of a call. s says who asks.
	Find(s *Session, h *wire.HeadersView) Route
	// Authorize returns why the peer may not use a route that is Guarded, or nil if it may.
	// It is called before the call is admitted, and before its message or a frame of the stream
	// is read. It may block: a drain waits for the call, and its stream counts.
	Authorize(s *Session, r *Route) *wire.Status
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
	// Guarded means that Authorize decides who may use the route.
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
