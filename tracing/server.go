package tracing

import (
	"context"

	"go.opentelemetry.io/otel/trace"
)

// ServerSpan is the span of one incoming call. The zero value is inert.
type ServerSpan struct{ span trace.Span }

// StartServer starts the span of a call to method as the child of the context in
// carrier, or as a new root when carrier has none, and returns a context that
// carries span and baggage. With [Linked] or [Foreign] it is always a new root, with
// a link to what carrier has. Pass [OtherMethod] for a method that is not
// registered: names come from the program, never from the peer. CallerService is
// the verified name of the calling service, empty if unknown.
//
// When no SDK is set it returns the zero span and, in the context, what carrier
// held; nothing of it if the caller is Foreign. Carrier is not kept. End must follow.
func (t *Tracer) StartServer(ctx context.Context, method string, carrier Carrier, callerService string, how Correlation) (context.Context, ServerSpan) {
	own := ctx
	if t != nil && len(carrier) > 0 {
		ctx = t.extract(ctx, carrier)
	}
	tracer := t.current()
	if tracer == nil {
		if how == Foreign {
			ctx = own
		}
		return ctx, ServerSpan{}
	}
	options := make([]trace.SpanStartOption, 0, 4)
	options = append(options,
		trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(system(), keyMethod.String(method)))
	if callerService != "" {
		options = append(options, trace.WithAttributes(keyPeerService.String(callerService)))
	}
	sender := trace.SpanContextFromContext(ctx)
	if how == Foreign {
		ctx = own
	}
	if sender.IsRemote() && how != Child {
		options = append(options, trace.WithNewRoot(), trace.WithLinks(trace.Link{SpanContext: sender}))
	}
	if !sender.IsRemote() {
		// A span that ctx has from the program, such as one around Run, is not
		// the parent of what a peer asks for.
		options = append(options, trace.WithNewRoot())
	}
	ctx, span := tracer.Start(ctx, method, options...) //nolint:spancheck // ServerSpan.End ends it
	return ctx, ServerSpan{span}                       //nolint:spancheck // ServerSpan.End ends it
}

// Attempt records that the call is attempt n of its caller's, counted from 1, if it is not the first.
func (s ServerSpan) Attempt(n int) {
	if n > 1 && s.span != nil && s.span.IsRecording() {
		s.span.SetAttributes(keyAttempt.Int(n))
	}
}

// End ends the span with the code of the reply, by gRPC's numbers, 0 for success.
// Codes that are the server's fault are errors of the span: Unknown,
// DeadlineExceeded, Unimplemented, Internal, Unavailable and DataLoss. Err adds
// its description, see [Describer]; it may be nil.
func (s ServerSpan) End(code uint32, err error) { end(s.span, code, isServerError(code), err) }
