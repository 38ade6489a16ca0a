package link

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/linkmesh/link/internal/transport"
)

// incoming is a unary call on its way through the middleware of the node that serves it.
type incoming struct {
	node    *Node
	handler *handler

	mu      sync.Mutex // guards the fields below; held while the request is read
	call    *transport.Call
	request any
	err     error
	over    bool // the reply is about to be written, or is
}

// decode reads the request and decodes it.
func (i *incoming) decode() (any, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.over:
		return nil, Errorf(Canceled, "the call is over, and its request was not read before")
	case i.request == nil && i.err == nil:
		i.request, i.err = i.decodeLocked()
	}
	return i.request, i.err
}

func (i *incoming) decodeLocked() (request any, err error) {
	defer func() {
		if p := recover(); p != nil { // how a type decodes itself is the user's code
			err = panicked(p)
		}
	}()
	if i.handler.missing != nil {
		return nil, i.handler.missing
	}
	refusal, err := i.call.Receive()
	if err != nil {
		return nil, Errorf(Canceled, "the request did not arrive: %w", err)
	}
	if refusal != nil {
		return nil, Errorf(Code(refusal.Code), "%s", refusal.Message)
	}
	return i.node.decode(i.handler, i.call)
}

// finish makes the call ready for its reply: nobody reads the request from now on.
func (i *incoming) finish() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.over = true
	i.call.Decline()
}

type servingKey struct{}

// serveWrapped runs the handler of a call in the server's middleware, which begins before the request is read.
func (n *Node) serveWrapped(ctx context.Context, info *callInfo, h *handler, c *transport.Call) (response any, err error) {
	in := &incoming{node: n, handler: h, call: c}
	defer in.finish()
	defer func() {
		if p := recover(); p != nil { // in middleware
			response, err = nil, panicked(p)
		}
	}()
	op := &Operation{Route: h.route, Peer: peerOf(c.Session), Metadata: info.readMetadata(), Unserved: h.unserved, Attempt: attemptOf(c), incoming: in}
	err = h.wrapped(context.WithValue(ctx, servingKey{}, h), op)
	return op.Response, err
}

// serverTerminal is the innermost handler of the server's middleware. What panics below it is an error to the
// middleware.
func serverTerminal(ctx context.Context, op *Operation) (err error) {
	h, ok := ctx.Value(servingKey{}).(*handler)
	if !ok {
		return Errorf(Internal, "server middleware called next with a context that is not derived from its own")
	}
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	if h.missing != nil {
		return h.missing
	}
	if h.stream != nil {
		return h.stream(ctx, op.Stream)
	}
	request, err := op.Decode()
	if err != nil {
		return err
	}
	op.Response, err = h.call.Serve(ctx, request)
	return err
}

// PanicError is what a panic of a handler becomes for the server's middleware. The caller gets [Internal] and
// an ID under which the log has the rest.
type PanicError struct {
	Value any    // what the handler panicked with
	Stack []byte // the goroutine's
}

// Error returns the value and the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.Value, e.Stack) }

func panicked(value any) error { return &PanicError{value, debug.Stack()} }
