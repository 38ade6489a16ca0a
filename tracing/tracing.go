// Package tracing carries OpenTelemetry traces and baggage through link. It is
// the only package of link that uses OpenTelemetry, and it uses only the API:
// the SDK and its exporters are the program's choice.
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
// No setup is needed: a node without a tracer uses the global provider and
// propagator as soon as the program sets them. To choose others:
//
//	node, err := link.New(link.Config{
//		Service: "orders",
//		Tracer:  tracing.New(tracing.Config{TracerProvider: provider}),
//	})
//
// Code that implements its own calls uses the methods of [Tracer]:
//
//	ctx, span := tracer.StartClient(ctx, "orders/get")
//	header.Trace = tracer.Inject(ctx, header.Trace[:0])
//	span.Attempt(1, instance)
//	span.End(code, err)
//
//	ctx, span := tracer.StartServer(ctx, "orders/get", header.Trace, caller, tracing.Child)
//	span.End(code, err)
//
// # Guarantees
//
// While no SDK is set, no span is made and none of the calls above allocates.
// Incoming context and baggage are still forwarded, so that a service without an
// SDK does not break the trace. The providers of the API itself, the global
// placeholder and the no-op provider, do not count as an SDK; spans that eBPF
// auto-instrumentation attaches to the placeholder are therefore not made.
//
// A span of a peer outside the trust domain is only linked to ([Foreign]): the
// peer can neither force sampling nor put baggage into the calls of this service.
//
// Names and attributes follow the semantic conventions named by [SchemaURL]. No
// span carries an address, a token, a body or metadata, and error texts only
// where the error provides one for spans ([Describer]).
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
// Use a [Config] with a provider of the SDK and an in-memory exporter (tracetest).
package tracing

import (
	"sync/atomic"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Config sets the provider of spans and the format of carriers. The zero value uses
// the globals of package otel.
type Config struct {
	// TracerProvider makes the spans. Nil means the global provider, looked up on
	// each use, so that an SDK that is set later works.
	TracerProvider trace.TracerProvider

	// Propagator writes and reads carriers. Nil means the global propagator, looked
	// up on each use, or W3C Trace Context and Baggage while none is set.
	Propagator propagation.TextMapPropagator
}

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

// New returns a tracer for config.
func New(config Config) *Tracer {
	t := &Tracer{
		propagator: config.Propagator,
		standard: propagation.NewCompositeTextMapPropagator(
			propagation.TraceContext{}, propagation.Baggage{}),
	}
	if config.Propagator != nil && isPlaceholder(config.Propagator) {
		t.propagator = nil
	}
	switch provider := config.TracerProvider; {
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
