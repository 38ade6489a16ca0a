package trace

import (
	"context"

	"go.opentelemetry.io/otel/trace"
)

// ServerSpan is the span of one incoming call. Methods of the zero value do nothing.
type ServerSpan struct{ span trace.Span }

// StartServer starts the span of a call to method, and returns a context that
// carries the span and the baggage. With [Child] the span is a child of the span in
// carrier, or a new root if carrier has none. With [Linked] or [Foreign] it is always
// a new root, with a link to the span in carrier. Pass [OtherMethod] for a method
// that is not registered: names come from the program, never from the peer.
// CallerService is the verified name of the calling service, or empty if unknown.
//
// If no SDK is set, StartServer returns the zero span and a context with the content
// of carrier, or ctx itself if the caller is Foreign. Carrier is not kept. The caller
// must call End.
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
		// A span of the program in ctx, such as one around Run, must not become
		// the parent of a peer's call.
		options = append(options, trace.WithNewRoot())
	}
	ctx, span := tracer.Start(ctx, method, options...) //nolint:spancheck // ServerSpan.End ends it
	return ctx, ServerSpan{span}                       //nolint:spancheck // ServerSpan.End ends it
}

// Attempt records that the call is the caller's attempt n, counted from 1. It does nothing for the first attempt.
func (s ServerSpan) Attempt(n int) {
	if n > 1 && s.span != nil && s.span.IsRecording() {
		s.span.SetAttributes(keyAttempt.Int(n))
	}
}

// End ends the span with the code of the reply, a gRPC status code. The codes that
// are the server's fault mark the span as failed: Unknown, DeadlineExceeded,
// Unimplemented, Internal, Unavailable and DataLoss. The description comes from
// err, see tracing.Describer; err may be nil.
func (s ServerSpan) End(code uint32, err error) { end(s.span, code, isServerError(code), err) }
