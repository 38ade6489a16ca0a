package tracing

import (
	"context"

	"go.opentelemetry.io/otel/trace"
)

// ClientSpan is the span of one outgoing call. The zero value is inert.
type ClientSpan struct{ span trace.Span }

// StartClient starts the span of a call to method, as in "orders/get", and
// returns a context that carries it. When no SDK is set it returns ctx and the
// zero span. End must follow.
func (t *Tracer) StartClient(ctx context.Context, method string) (context.Context, ClientSpan) {
	tracer := t.current()
	if tracer == nil {
		return ctx, ClientSpan{}
	}
	ctx, span := tracer.Start(ctx, method, //nolint:spancheck // ClientSpan.End ends it
		trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(system(), keyMethod.String(method)))
	return ctx, ClientSpan{span} //nolint:spancheck // ClientSpan.End ends it
}

// Attempt records that attempt n, counted from 1, goes to the instance with this
// ID.
func (s ClientSpan) Attempt(n int, instance string) {
	if s.span == nil || !s.span.IsRecording() {
		return
	}
	s.span.AddEvent(eventAttempt, trace.WithAttributes(keyAttempt.Int(n), keyInstance.String(instance)))
}

// End ends the span with the code of the call, by gRPC's numbers, 0 for success.
// Any other code is an error of the span. Err adds its description, see
// [Describer]; it may be nil.
func (s ClientSpan) End(code uint32, err error) { end(s.span, code, code != codeOK, err) }
