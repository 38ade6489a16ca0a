// Package tracing sets how link traces calls and messages with OpenTelemetry. It uses only
// OpenTelemetry's API: the SDK and its exporters are the program's choice.
//
// # Overview
//
// A call has a client span around all its attempts, with one event per attempt, and a server
// span that is its child. The context is sent in the call's header as W3C Trace Context and
// W3C Baggage. A message has a span where it is sent, and another where it is processed, which
// is linked to the first or its child.
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
// A [Tracer] has no methods, because link and its patterns make all the spans. What makes them
// is in internal/trace, where a Tracer is the same value with methods. Code that wants spans of
// its own makes them with OpenTelemetry, in the context that its handler is given.
//
// # Guarantees
//
// While no SDK is set, no span is made, and tracing a call allocates nothing. Incoming context
// and baggage are still forwarded, so that a service without an SDK does not break the trace.
// The providers of the API itself, the global placeholder and the no-op provider, do not count
// as an SDK; spans that eBPF auto-instrumentation attaches to the placeholder are therefore not
// made.
//
// A span of a peer outside the trust domain is only linked to: the peer can neither force
// sampling nor put baggage into the calls of this service.
//
// Names and attributes follow version 1.43.0 of OpenTelemetry's semantic
// conventions, whose schema URL the instrumentation scope of each span has. No
// span carries an address, a token, a body or metadata, and error texts only
// where the error provides one for spans ([Describer]).
//
// # Limits
//
// Trace context and baggage of a call or message are at most 16 pairs and 8 KiB. If not all of
// them fit, the traceparent has priority, then the tracestate, then the others in order. The
// span of a batch of messages links to at most 128 of their senders.
//
// # Concurrency
//
// A [Tracer] is safe for concurrent use, and may be that of several nodes.
//
// # Errors
//
// Tracing never fails a call: what is malformed or exceeds the limits is left out.
//
// # Testing
//
// Use a [Config] with a provider of the SDK and an in-memory exporter (tracetest).
package tracing

import (
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	engine "github.com/linkmesh/link/internal/trace"
)

// Config sets the provider of spans and the format of trace context in headers. The zero value
// uses the globals of package otel.
type Config struct {
	// TracerProvider makes the spans. Nil means the global provider, looked up on
	// each use, so that an SDK that is set later works.
	TracerProvider trace.TracerProvider

	// Propagator writes and reads trace context. Nil means the global propagator, looked
	// up on each use, or W3C Trace Context and Baggage while none is set.
	Propagator propagation.TextMapPropagator
}

// Tracer makes the spans of a node's calls and messages, and carries their context. Make one
// with [New].
type Tracer engine.Tracer

// New returns a tracer for config.
func New(config Config) *Tracer {
	return (*Tracer)(engine.New(config.TracerProvider, config.Propagator))
}

// Describer is implemented by errors that have a text fit for a span, free of
// addresses, tokens and bodies. For other errors a span has only the code, because
// their text may contain anything. The Describer may be wrapped, as for [errors.As].
type Describer interface {
	error
	// SpanDescription returns the text, which is cut at 256 bytes.
	SpanDescription() string
}
