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
	Metadata Metadata // of the caller; a client's middleware may add to it with Set
	Request  any      // unary: pointer to the request
	Response any      // unary: the response, once next has returned
	Stream   *Stream  // streams; on the client once next has returned
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
type Middleware func(next Handler) Handler

func chain(list []Middleware, last Handler) Handler {
	for _, m := range slices.Backward(list) {
		last = m(last)
	}
	return last
}
