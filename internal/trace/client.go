package trace

import (
	"context"

	"go.opentelemetry.io/otel/trace"
)

// ClientSpan is the span of one outgoing call. Methods of the zero value do nothing.
type ClientSpan struct{ span trace.Span }

// StartClient starts the span of a call to a method such as "orders/get", and
// returns a context that carries it. If no SDK is set, it returns ctx and the
// zero span. The caller must call End.
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

// Attempt records that attempt n, counted from 1, goes to the instance with the
// given ID.
func (s ClientSpan) Attempt(n int, instance string) {
	if s.span == nil || !s.span.IsRecording() {
		return
	}
	s.span.AddEvent(eventAttempt, trace.WithAttributes(keyAttempt.Int(n), keyInstance.String(instance)))
}

// End ends the span with the code of the call, a gRPC status code. Any code but 0
// marks the span as failed. The description comes from err, see tracing.Describer; err
// may be nil.
func (s ClientSpan) End(code uint32, err error) { end(s.span, code, code != codeOK, err) }
