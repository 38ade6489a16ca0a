package link

import (
	"context"
	"slices"
)

// Operation is one unary call or one stream, as middleware sees it.
type Operation struct {
	Route    Route
	Client   bool     // this side calls; otherwise it serves
	Peer     Peer     // who calls; on the client who answered, once next has returned
	Metadata Metadata // what the caller sent; a client's middleware may add to it with Set
	Request  any      // unary: pointer to the request; on the server nil until Decode or next has read it
	Response any      // unary: the response, once next has returned
	Stream   *Stream  // streams; on the client once next has returned
	// Attempt says, of unary calls, which attempt of its caller's a server has before it, as the caller says,
	// and on the client how many were made, once next has returned. It counts from 1; 0 on streams.
	Attempt int
	// Unserved says that this node has no such route. Route.Name is then what the
	// caller wrote, anything of up to 255 bytes: no label for metrics.
	Unserved bool

	incoming *incoming // on the server, of unary calls
}

// Decode reads the request of a unary call that is served, at the first call, and
// returns op.Request, a pointer to it. Next does it for those who do not: middleware
// runs before the request is read, so a caller that it turns away costs no more than
// its headers. Call it once the caller is known to be welcome.
//
// Errors: InvalidArgument if the request cannot be decoded, ResourceExhausted if it is
// too large; return them as they are. On the client it returns op.Request.
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

// SetMeta adds a pair to the metadata that a client sends when it calls next
// after this.
func (o *Operation) SetMeta(key, value string) { o.Metadata = o.Metadata.with(key, value) }

// Handler runs one operation to its end.
type Handler func(ctx context.Context, op *Operation) error

// Middleware wraps a Handler. It may return without calling next, change ctx,
// and look at the error and the response that next left. The first of a list is
// the outermost. It is called for every pattern, on both sides; on the client
// once per call, not per attempt.
//
// On the server it sees every operation that is not shed for overload: also those
// for routes that nobody serves ([Operation.Unserved]), whose requests cannot be
// decoded, and whose handlers panic. Next then returns Unimplemented,
// InvalidArgument, or a [*PanicError], with which CodeOf is [Internal].
type Middleware func(next Handler) Handler

func chain(list []Middleware, last Handler) Handler {
	for _, m := range slices.Backward(list) {
		last = m(last)
	}
	return last
}
