package link

import (
	"context"
	"fmt"
	"math"
	"sync"

	"github.com/linkmesh/link/internal/foreign"
	"github.com/linkmesh/link/internal/trace"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/internal/wire"
)

// dispatcher is the node as a transport.Handler. Package transport calls its methods in the order in which they stand here,
// with steps of its own in between; see serve.go there.
type dispatcher Node

// Find implements transport.Handler: it finds the handler of a call or stream.
func (d *dispatcher) Find(_ *transport.Session, h *wire.HeadersView) transport.Route {
	t := d.routes.table.Load()
	var found *handler
	if t != nil && h.Route != nil && h.RouteKind <= math.MaxUint8 {
		// The conversion in a map index does not copy.
		found = t.byName[routeKey{Kind(h.RouteKind), string(h.Route)}]
	} else if t != nil && h.Route == nil && h.RouteID < uint64(len(t.byID)) {
		found = t.byID[h.RouteID]
	}
	if found == nil {
		return d.missing(d.unserved(h))
	}
	if h.Codec != uint64(d.cfg.Codec.ID()) && found.stream == nil {
		return d.missing(&handler{
			route: found.route, config: found.config,
			missing: Errorf(Unimplemented, "this node does not read codec %d; it reads %s (%d)", h.Codec, d.cfg.Codec.Name(), d.cfg.Codec.ID()),
		})
	}
	return transport.Route{
		Value: found, Stream: found.stream != nil, Lasting: found.config.lasting, MaxMessage: found.config.maxMessage,
		Guarded: found.config.authorize != nil, Early: found.wrapped != nil,
	}
}

// Authorize implements transport.Handler: it asks the handler's option of this name whether the peer may use the route.
func (d *dispatcher) Authorize(s *transport.Session, r *transport.Route) (refusal *wire.Status) {
	h, _ := r.Value.(*handler)
	n, err := (*Node)(d), error(nil)
	returned := false
	defer n.noteExit(h, &returned)
	func() {
		// A panic of this user code refuses the call.
		defer func() {
			if p := recover(); p != nil {
				err = panicked(p)
			}
		}()
		err = h.config.authorize(peerOf(s))
	}()
	returned = true
	if err == nil {
		return nil
	}
	if CodeOf(err) == Unknown {
		err = Errorf(PermissionDenied, "%s may not use %s %s: %w", verifiedOf(s).peer.ID.Service(), h.route.Kind, h.route, err)
	}
	status := statusOn(n.cfg.Logger, s, h.route, err)
	return &status
}

// ServeCall implements transport.Handler. The call has been found, authorized and admitted, and its message has been read
// unless there is middleware. What follows is serve, with middleware, decode and the handler in it, and encode.
func (d *dispatcher) ServeCall(c *transport.Call) {
	n := (*Node)(d)
	h, _ := c.Route.(*handler)
	ctx := &callContext{
		callInfo: callInfo{session: c.Session, handler: h, headers: &c.Headers},
		deadline: c.Deadline, caller: c.Canceled(),
	}
	returned := false
	defer n.noteExit(h, &returned)
	response, err := n.serve(ctx, h, c)
	returned = true
	if err == nil {
		if err = n.encode(c, h, response); err != nil {
			c.Reply = c.Reply[:0]
		}
	}
	if err == nil && ctx.reply.pairs == nil {
		c.Reply = wire.AppendOK(c.Reply, c.StatusFlags())
		return
	}
	status := statusOn(n.cfg.Logger, c.Session, h.route, err)
	status.Metadata = ctx.reply.pairs
	c.Reply = wire.AppendStatus(c.Reply, &status, c.StatusFlags())
}

// serve runs the handler of a call, inside its middleware.
func (n *Node) serve(ctx *callContext, h *handler, c *transport.Call) (response any, err error) {
	// This runs even if the handler ends its goroutine.
	defer ctx.finish()
	var use context.Context = ctx
	var span trace.ServerSpan
	if c.Headers.Trace.Len() > 0 || n.tracer().Enabled() {
		use, span = n.tracer().StartServer(ctx, h.spanName(), carrierOf(c.Headers.Trace), verifiedOf(c.Session).peer.ID.Service(), n.correlation(c.Session))
		span.Attempt(attemptOf(c))
		defer func() { span.End(uint32(CodeOf(err)), err) }()
	}
	if h.wrapped != nil {
		return n.serveWrapped(use, &ctx.callInfo, h, c)
	}
	return n.run(use, h, c)
}

// run decodes the request of a call and runs the handler.
func (n *Node) run(ctx context.Context, h *handler, c *transport.Call) (response any, err error) {
	defer func() {
		if p := recover(); p != nil {
			response, err = nil, panicked(p)
		}
	}()
	request, err := n.decode(h, c)
	if err != nil {
		return nil, err
	}
	return h.call.Serve(ctx, request)
}

// decode decodes the request of a call whose message has been read.
func (n *Node) decode(h *handler, c *transport.Call) (any, error) {
	if c.Headers.Timeout == 0 {
		return nil, Errorf(DeadlineExceeded, "the call arrived after its deadline")
	}
	request := h.call.New()
	if err := n.cfg.Codec.Decode(c.Message, request); err != nil {
		return nil, uncoded(err, InvalidArgument, "decoding the request into %T", request)
	}
	return request, nil
}

// encode appends the DATA frame of the response to the reply.
func (n *Node) encode(c *transport.Call, h *handler, response any) (err error) {
	// A type may encode itself with user code.
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	if hint := h.sizes.Size(); cap(c.Reply) < hint {
		c.Reply = transport.GetBuffer(hint)
	}
	b, body := wire.BeginFrame(c.Reply, wire.KindData, 0)
	if c.Reply, err = n.cfg.Codec.Append(b, response); err != nil {
		return uncoded(err, Internal, "encoding the response")
	}
	if size := len(c.Reply) - body; size > n.replyLimit(h, c) {
		return n.replyTooLarge(h, c, size)
	}
	h.sizes.Note(len(c.Reply))
	return wire.EndFrame(c.Reply, body)
}

// replyLimit returns how large a reply may be, by the limits of the route and of the caller.
func (n *Node) replyLimit(h *handler, c *transport.Call) int {
	return min(h.limit(n), callerTakes(c))
}

// limit returns how large the messages of the route may be.
func (h *handler) limit(n *Node) int {
	if h.config.sized {
		return h.config.maxMessage
	}
	return n.cfg.Limits.maxMessage()
}

func callerTakes(c *transport.Call) int {
	if m := c.Headers.MaxMessage; m > 0 {
		return int(min(m, maxMessageCap))
	}
	return int(min(c.Session.Remote().MaxMessage, maxMessageCap))
}

func (n *Node) replyTooLarge(h *handler, c *transport.Call, size int) error {
	limit, whose := h.limit(n), "this node's Config.Limits.MaxMessage of %d bytes; to raise it for one route, register the handler with MaxMessage"
	if h.config.sized {
		whose = "the MaxMessage of %d bytes that the handler was registered with"
	}
	if takes := callerTakes(c); takes < limit {
		limit, whose = takes, "the caller's Config.Limits.MaxMessage of %d bytes; to raise it for one call, make the call with MaxMessage"
		if c.Headers.MaxMessage > 0 {
			whose = "the MaxMessage of %d bytes that the caller gave the call"
		}
	}
	return Errorf(ResourceExhausted, "response of %d bytes exceeds "+whose, size, limit)
}

// ServeStream implements transport.Handler.
func (d *dispatcher) ServeStream(raw *transport.Stream) {
	n := (*Node)(d)
	h, _ := raw.Route.(*handler)
	info := &callInfo{session: raw.Session, handler: h, headers: &raw.Headers}
	ctx, cancel := context.WithCancelCause(context.WithValue(context.Background(), infoKey{}, info))
	defer cancel(ErrFinished)
	defer context.AfterFunc(raw.Canceled(), func() { cancel(callerGone(raw.Session)) })()
	node := raw.Session.Handlers()
	defer context.AfterFunc(node, func() { cancel(nodeCause(node)) })()

	st := &Stream{ctx: ctx, cancel: cancel, raw: raw, route: h.route}
	returned := false
	defer n.noteExit(h, &returned)
	err := n.serveStream(ctx, h, st)
	returned = true
	status := statusOn(n.cfg.Logger, raw.Session, h.route, err)
	status.Metadata = info.reply.pairs
	raw.Finish(&status)
}

func (n *Node) serveStream(ctx context.Context, h *handler, st *Stream) (err error) {
	ctx, span := n.tracer().StartServer(ctx, h.route.String(), carrierOf(st.raw.Headers.Trace), verifiedOf(st.raw.Session).peer.ID.Service(), n.correlation(st.raw.Session))
	defer func() { span.End(uint32(CodeOf(err)), err) }()
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	st.ctx = ctx
	if h.wrapped == nil {
		return h.stream(ctx, st)
	}
	op := &Operation{Route: h.route, Peer: peerOf(st.raw.Session), Metadata: infoOf(ctx).readMetadata(), Stream: st}
	return h.wrapped(context.WithValue(ctx, servingKey{}, h), op)
}

// missing returns the route of a call that no handler serves: middleware sees it, if there is any.
func (d *dispatcher) missing(h *handler) transport.Route {
	if d.serving == nil {
		status := statusOf(d.cfg.Logger, h.route, h.missing)
		return transport.Route{Refuse: &status}
	}
	h.wrapped = d.serving
	return transport.Route{Value: h, Early: true, Guarded: h.config.authorize != nil}
}

// unserved returns a handler for a route that the node does not serve.
func (d *dispatcher) unserved(h *wire.HeadersView) *handler {
	r := Route{Service: d.cfg.Service, Name: fmt.Sprintf("#%d", h.RouteID), Kind: Kind(min(h.RouteKind, math.MaxUint8))}
	what := fmt.Sprintf("route number %d", h.RouteID)
	if h.Route != nil {
		r.Name = foreign.Text(string(h.Route))
		what = fmt.Sprintf("%s %s", r.Kind, r)
	}
	return &handler{route: r, unserved: true, missing: Errorf(Unimplemented, "%s is not served by %s", what, d.instance)}
}

// spanName returns the name for spans of calls: the name of the route, never one that the peer made up.
func (h *handler) spanName() string {
	if h.unserved {
		return trace.OtherMethod
	}
	return h.route.String()
}

// noteExit is deferred around a handler, and around its Authorize, and logs if its goroutine exits without returning.
func (n *Node) noteExit(h *handler, returned *bool) {
	if !*returned {
		n.cfg.Logger.Error("link: a handler ended its goroutine (runtime.Goexit, or FailNow of a test); its caller gets an error", "route", h.route.String())
	}
}

// attemptOf returns which attempt of its caller a call is, counted from 1.
func attemptOf(c *transport.Call) int { return int(min(c.Headers.Attempt, math.MaxInt32-1)) + 1 }

func carrierOf(v wire.PairsView) trace.Carrier {
	if v.Len() == 0 {
		return nil
	}
	out := make(trace.Carrier, 0, v.Len())
	for k, value := range v.All() {
		out = append(out, trace.Pair{Key: string(k), Value: string(value)})
	}
	return out
}

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
		return nil, Errorf(Canceled, "the call ended before its request was read")
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
