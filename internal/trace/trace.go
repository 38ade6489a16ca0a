// Package trace is the engine of package tracing: it makes the spans of calls and messages,
// and carries their context. Users make a tracer with package tracing, which shows them no more
// than that; this package is for link and for its patterns.
//
// # Overview
//
// A call has a client span around all its attempts, with one event per attempt,
// and a server span that is its child. The context is sent in the call's header
// as W3C Trace Context and W3C Baggage, in a [Carrier]. A message has a span where it is
// sent, and another where it is processed, which is linked to the first or its child.
//
// # Usage
//
// A *tracing.Tracer is a *Tracer without its methods, and a conversion brings them back:
//
//	tracer := (*trace.Tracer)(node.Tracer())
//	ctx, span := tracer.StartClient(ctx, "orders/get")
//	header.Trace = tracer.Inject(ctx, header.Trace[:0])
//	span.Attempt(1, instance)
//	span.End(code, err)
//
//	ctx, span := tracer.StartServer(ctx, "orders/get", header.Trace, caller, trace.Child)
//	span.End(code, err)
//
// # Guarantees
//
// While no SDK is set, no span is made and none of the calls above allocates.
// Incoming context and baggage are still forwarded, so that a service without an
// SDK does not break the trace.
//
// A span of a peer outside the trust domain is only linked to ([Foreign]): the
// peer can neither force sampling nor put baggage into the calls of this service.
//
// # Concurrency
//
// [Tracer] and the spans are safe for concurrent use. A [Carrier] is not.
//
// # Errors
//
// Tracing never fails a call: pairs that are malformed or exceed the limits of a
// [Carrier] are left out.
//
// # Testing
//
// Use [New] with a provider of the SDK and an in-memory exporter (tracetest).
package trace

import (
	"sync/atomic"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Tracer makes the spans of calls and injects and extracts their context. Make one
// with [New]. A nil Tracer makes no spans and carries no context.
type Tracer struct {
	// tracer is the configured tracer. It is nil if global is set, or if the
	// provider is a no-op.
	tracer trace.Tracer

	// global means that the global provider is looked up on each use; resolved
	// caches its tracer.
	global   bool
	resolved atomic.Pointer[resolved]

	// propagator is nil if the global propagator is looked up on each use; standard
	// is used while the program has not set one.
	propagator propagation.TextMapPropagator
	standard   propagation.TextMapPropagator
}

// New returns a tracer for the provider of spans and the propagator of package tracing's Config.
func New(provider trace.TracerProvider, propagator propagation.TextMapPropagator) *Tracer {
	t := &Tracer{
		propagator: propagator,
		standard: propagation.NewCompositeTextMapPropagator(
			propagation.TraceContext{}, propagation.Baggage{}),
	}
	if propagator != nil && isPlaceholder(propagator) {
		t.propagator = nil
	}
	switch {
	case provider == nil, isPlaceholder(provider):
		t.global = true
	case !isNoop(provider):
		t.tracer = tracerOf(provider)
	}
	return t
}

// Enabled reports whether an SDK is set, so that spans are made. It costs a few
// nanoseconds.
func (t *Tracer) Enabled() bool { return t.current() != nil }
