// Package tracing carries OpenTelemetry traces and baggage through link. It is
// the only package of link that knows OpenTelemetry, and it uses the API alone:
// the SDK and its exporters are the program's choice.
//
// # Overview
//
// A call has a client span around all its attempts, with one event per attempt,
// and a server span that is its child. The context travels in the call's header
// as W3C Trace Context and W3C Baggage, in a [Carrier]. A message has a span where it is
// sent and one where it is processed, which is linked to the former or its child.
//
// # Usage
//
// Nothing is needed: a node without a tracer uses the global provider and
// propagator, whenever the program sets them. To choose others:
//
//	node, err := link.New(link.Config{
//		Service: "orders",
//		Tracer:  tracing.New(tracing.Config{TracerProvider: provider}),
//	})
//
// What follows is for those who carry calls themselves:
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
// While no SDK is set, no span is made and none of the calls above allocates;
// context and baggage that came in still go out, so that a service without an
// SDK does not cut the trace. The providers of the API itself, the global
// placeholder and the no-op provider, do not count as an SDK; spans that eBPF
// auto-instrumentation attaches to the placeholder are therefore not made.
//
// What a peer outside of the trust domain sends is only linked to ([Foreign]):
// it neither forces sampling nor puts baggage into the calls of this service.
//
// Names and attributes follow the semantic conventions named by [SchemaURL]. No
// span carries an address, a token, a body or metadata, and error texts only
// where the error says so ([Describer]).
//
// # Concurrency
//
// [Tracer] and the spans are safe for concurrent use. A [Carrier] is not.
//
// # Errors
//
// Tracing never fails a call: what is malformed or beyond the limits of a
// [Carrier] is left out.
//
// # Testing
//
// Give [Config] a provider of the SDK with an in-memory exporter (tracetest).
package tracing

import (
	"sync/atomic"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Config says where spans go and how context travels. The zero value follows the
// globals of package otel.
type Config struct {
	// TracerProvider makes the spans. Nil means the global provider, looked up at
	// use, so that an SDK set later works.
	TracerProvider trace.TracerProvider

	// Propagator writes and reads carriers. Nil means the global propagator,
	// looked up at use, or W3C Trace Context and Baggage while none is set.
	Propagator propagation.TextMapPropagator
}

// Tracer makes the spans of calls and carries their context. Make one with [New].
// A nil Tracer makes no span and carries nothing.
type Tracer struct {
	// tracer is the configured one; nil if global, or if the provider is a no-op.
	tracer trace.Tracer
	// global says to look the provider up at use, through resolved.
	global   bool
	resolved atomic.Pointer[resolved]

	propagator propagation.TextMapPropagator // nil: look up at use
	standard   propagation.TextMapPropagator // while the program sets none
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
