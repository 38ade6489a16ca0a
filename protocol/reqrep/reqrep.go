// Package reqrep is request/response over link: typed methods, called by
// the name of the service that owns them.
//
// # Overview
//
// A [Method] is declared once and imported by both sides. The service that owns
// it serves it with [Handle]; any node calls it with [Call]. There is no
// generated code: requests and responses are Go types that the node's codec can
// encode.
//
// # Usage
//
//	var GetOrder = reqrep.NewMethod[OrderQuery, Order]("orders", "get", link.ReadOnly, link.Timeout(2*time.Second))
//
//	reqrep.Handle(node, GetOrder, func(ctx context.Context, q OrderQuery) (Order, error) { … })
//
//	order, err := reqrep.Call(ctx, node, GetOrder, OrderQuery{ID: "o-1"})
//
// # Guarantees
//
// The caller gets a reply or a typed error by its deadline. A call that may have
// run is retried only if its method is [link.Idempotent] or [link.ReadOnly], or the call
// has a link.IdempotencyKey. Other calls run at most once.
//
// # Concurrency
//
// Methods are values. Handlers run on many goroutines at once.
//
// # Errors
//
// Every error is a *link.Error; test it with errors.Is and a link.Code. An error
// that a handler makes with link.Errorf arrives with its code, message and
// details. An error without a code arrives as link.Internal with an ID that the
// server logged.
//
// # Testing
//
// Package linktest has a mesh in memory.
package reqrep

import (
	"context"

	"github.com/linkmesh/link"
)

// Method is a unary method with its types. Methods are comparable values.
type Method[Req, Res any] struct{ route link.Route }

// NewMethod declares a method of a service. The options are its level, without which it
// is [link.Unsafe], and its [link.Timeout]. A bad name or option is reported by the first
// Handle or Call that uses the method.
func NewMethod[Req, Res any](service, name string, opts ...link.MethodOption) Method[Req, Res] {
	return Method[Req, Res]{link.Route{Service: service, Name: name, Kind: link.KindMethod}.With(opts...)}
}

// Route returns the untyped route of the method.
func (m Method[Req, Res]) Route() link.Route { return m.route }

// String returns "service/name".
func (m Method[Req, Res]) String() string { return m.route.String() }

// Handle serves m on node. It panics if m does not belong to the node's service
// or has a handler already, or if f is nil. f runs on the goroutine that received
// the request. Its context ends when the caller is gone, at the deadline, or when
// f returns.
func Handle[Req, Res any](node *link.Node, m Method[Req, Res], f func(context.Context, Req) (Res, error), opts ...link.HandleOption) {
	handler := link.CallHandler{
		New: func() any { return new(Req) },
		Serve: func(ctx context.Context, request any) (any, error) {
			req, ok := request.(*Req)
			if !ok {
				return nil, link.Errorf(link.Internal, "middleware replaced the request by a %T", request)
			}
			res, err := f(ctx, *req)
			if err != nil {
				return nil, err
			}
			return &res, nil
		},
	}
	if f == nil {
		handler.Serve = nil
	}
	link.HostOf(node).HandleCall(m.route, handler, opts...)
}

// Call calls m with req on an instance of its service. It blocks until the reply
// arrives or ctx ends. If ctx has no deadline, the timeout of the topology bounds the
// call, else the method's [link.Timeout], else link.Config.Limits.CallTimeout (10 s).
//
// Errors: those of the handler; link.Unavailable if no instance could be
// reached or the connection was lost; link.DeadlineExceeded; link.Canceled;
// link.Unimplemented; link.ResourceExhausted for messages beyond the limits.
func Call[Req, Res any](ctx context.Context, node *link.Node, m Method[Req, Res], req Req, opts ...link.CallOption) (Res, error) {
	// A struct of both takes one allocation instead of two.
	both := struct {
		req Req
		res Res
	}{req: req}
	if err := link.HostOf(node).Call(ctx, m.route, &both.req, &both.res, opts...); err != nil {
		var zero Res
		return zero, err
	}
	return both.res, nil
}
