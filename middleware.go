package link

import (
	"context"
	"slices"
)

// Operation is one unary call or one stream, as middleware sees it.
type Operation struct {
	Route Route
	// Client means that this side calls; otherwise it serves.
	Client bool
	// Peer is the caller. On the client it is the peer that answered, once next has
	// returned.
	Peer Peer
	// Metadata is what the caller sends. Middleware of the client may add to it with
	// SetMeta.
	Metadata Metadata
	// Request is a pointer to the request of a unary call. On the server it is nil
	// until Decode or next has read it.
	Request any
	// Response is the response of a unary call, once next has returned.
	Response any
	// Stream is the stream, on the client once next has returned; nil for unary calls.
	Stream *Stream
	// Attempt counts the attempts of a unary call from 1; it is 0 for streams. On the
	// server it is the number of this attempt, as the caller says. On the client it is
	// how many were made, once next has returned.
	Attempt int
	// Unserved means that this node has no such route. Route.Name is then what the
	// caller wrote, up to 255 arbitrary bytes: do not use it as a label for metrics.
	Unserved bool

	// incoming is set for unary calls on the server.
	incoming decoder
}

// decoder reads and decodes the request of a unary call, at the first call of decode.
type decoder interface{ decode() (any, error) }

// Decode reads and decodes the request of a unary call on the server, at the first
// call, and returns op.Request, a pointer to it. If no middleware calls Decode, next
// does. Middleware runs before the request is read, so a caller that it turns away
// costs no more than its headers: call Decode once the caller is known to be welcome.
//
// Errors: InvalidArgument if the request cannot be decoded, ResourceExhausted if it is
// too large; return them as they are. On the client Decode returns op.Request.
func (o *Operation) Decode() (any, error) {
	if o.Request == nil && o.incoming != nil {
		request, err := o.incoming.decode()
		if err != nil {
			return nil, err
		}
		o.Request = request
	}
	return o.Request, nil
}

// SetMeta adds a pair to the metadata that a client sends. It must be called
// before next.
func (o *Operation) SetMeta(key, value string) { o.Metadata = o.Metadata.with(key, value) }

// Next runs one operation to its end.
type Next func(ctx context.Context, op *Operation) error

// Middleware wraps a [Next]. It may return without calling next, change ctx,
// and look at the error and the response of next. The first of a list is the
// outermost. It is called for every pattern, on both sides; on the client once per
// call, not once per attempt.
//
// On the server it sees every operation that is not shed for overload, including
// those for routes that the node does not serve ([Operation.Unserved]), those whose
// request cannot be decoded, and those whose handler panics. In these cases next
// returns Unimplemented, InvalidArgument, or a [*PanicError], for which CodeOf
// returns [Internal].
type Middleware func(next Next) Next

func chain(list []Middleware, last Next) Next {
	for _, m := range slices.Backward(list) {
		last = m(last)
	}
	return last
}
