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

	// mu guards the fields below. It is held while the request is read.
	mu      sync.Mutex
	call    *transport.Call
	request any
	err     error
	// over means that the request can no longer be read, because the reply is next.
	over bool
}

// decode reads and decodes the request at the first call.
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
	// A type may decode itself with user code.
	defer func() {
		if p := recover(); p != nil {
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

// finish makes the call ready for its reply: the request cannot be read from now on.
func (i *incoming) finish() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.over = true
	i.call.Decline()
}

type servingKey struct{}

// serveWrapped runs the handler of a call inside the server's middleware, which begins before the request is read.
func (n *Node) serveWrapped(ctx context.Context, info *callInfo, h *handler, c *transport.Call) (response any, err error) {
	in := &incoming{node: n, handler: h, call: c}
	defer in.finish()
	// This recovers panics of middleware.
	defer func() {
		if p := recover(); p != nil {
			response, err = nil, panicked(p)
		}
	}()
	op := &Operation{Route: h.route, Peer: peerOf(c.Session), Metadata: info.readMetadata(), Unserved: h.unserved, Attempt: attemptOf(c), incoming: in}
	err = h.wrapped(context.WithValue(ctx, servingKey{}, h), op)
	return op.Response, err
}

// serverTerminal is the innermost handler of the server's middleware. It turns a panic of the handler into an error
// that the middleware sees.
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

// PanicError is the error that the server's middleware gets for a panic of a handler. The caller gets [Internal]
// and an ID that finds the rest in the log.
type PanicError struct {
	// Value is what the handler panicked with.
	Value any
	// Stack is the stack of the goroutine.
	Stack []byte
}

// Error returns the value and the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.Value, e.Stack) }

func panicked(value any) error { return &PanicError{value, debug.Stack()} }
