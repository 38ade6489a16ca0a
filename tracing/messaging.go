package tracing

import (
	"context"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"
)

// MessageSpan is the span of one message that is sent or processed. The zero value
// is inert.
type MessageSpan struct{ span trace.Span }

// StartSend starts the span of a message that is sent to a destination, as in
// "orders/placed", and returns a context that carries it: its context goes with the
// message, see [Tracer.Inject]. When no SDK is set it returns ctx and the zero span.
// End must follow.
func (t *Tracer) StartSend(ctx context.Context, destination string) (context.Context, MessageSpan) {
	tracer := t.current()
	if tracer == nil {
		return ctx, MessageSpan{}
	}
	ctx, span := tracer.Start(ctx, operationSend+" "+destination, //nolint:spancheck // MessageSpan.End ends it
		trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(messagingSystem(), keyOperation.String(operationSend), keyDestination.String(destination)))
	return ctx, MessageSpan{span} //nolint:spancheck // MessageSpan.End ends it
}

// Correlation is how a span belongs to that of the sender of a call or message.
type Correlation uint8

// The correlations.
const (
	// Linked is a trace of its own with a link to the sender's: a message that goes to
	// thousands of subscribers does not make one trace of all they do.
	Linked Correlation = iota
	// Child is a child of the sender's span, for a call, and for a message that one
	// receiver processes.
	Child
	// Foreign is a trace of its own with a link to the sender's, whose baggage is left behind:
	// a sender outside of the trust domain decides neither what is sampled here, nor
	// what goes out with the calls of this service.
	Foreign
)

// StartProcess starts the span of processing a message from a destination whose sender
// injected carrier, and returns a context that carries span and baggage. When no SDK is
// set it returns the zero span and, in the context, what carrier held; nothing of it if the
// sender is [Foreign]. Carrier is not kept. End must follow.
func (t *Tracer) StartProcess(ctx context.Context, destination string, carrier Carrier, how Correlation) (context.Context, MessageSpan) {
	remote := ctx
	if t != nil && len(carrier) > 0 {
		remote = t.extract(ctx, carrier)
	}
	tracer := t.current()
	switch {
	case tracer == nil && how == Foreign:
		return ctx, MessageSpan{}
	case tracer == nil:
		return remote, MessageSpan{}
	}
	options := make([]trace.SpanStartOption, 0, 4)
	options = append(options,
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(messagingSystem(), keyOperation.String(operationProcess), keyDestination.String(destination)))
	sender := trace.SpanContextFromContext(remote)
	switch {
	case sender.IsRemote() && how == Child:
		ctx = remote
	default:
		if how != Foreign {
			ctx = baggage.ContextWithBaggage(ctx, baggage.FromContext(remote))
		}
		options = append(options, trace.WithNewRoot())
	}
	if sender.IsRemote() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: sender}))
	}
	ctx, span := tracer.Start(ctx, operationProcess+" "+destination, options...) //nolint:spancheck // MessageSpan.End ends it
	return ctx, MessageSpan{span}                                                //nolint:spancheck // MessageSpan.End ends it
}

// MaxLinks is the most senders that the span of a batch links to.
const MaxLinks = 128

// StartBatch starts the span of processing several messages from a destination together:
// a trace of its own with a link to each sender, up to [MaxLinks]. [MessageSpan.Within]
// gives contexts that carry it. When no SDK is set it returns the zero span. Carriers are
// not kept. End must follow.
func (t *Tracer) StartBatch(ctx context.Context, destination string, carriers []Carrier) MessageSpan {
	tracer := t.current()
	if tracer == nil {
		return MessageSpan{}
	}
	var links []trace.Link
	for _, carrier := range carriers {
		if len(carrier) == 0 || len(links) == MaxLinks {
			continue
		}
		if sender := trace.SpanContextFromContext(t.extract(ctx, carrier)); sender.IsRemote() {
			links = append(links, trace.Link{SpanContext: sender})
		}
	}
	_, span := tracer.Start(ctx, operationProcess+" "+destination, //nolint:spancheck // MessageSpan.End ends it
		trace.WithSpanKind(trace.SpanKindConsumer), trace.WithNewRoot(), trace.WithLinks(links...),
		trace.WithAttributes(messagingSystem(), keyOperation.String(operationProcess), keyDestination.String(destination), keyBatch.Int(len(carriers))))
	return MessageSpan{span} //nolint:spancheck // MessageSpan.End ends it
}

// Within returns a context that carries the span; ctx itself if there is none.
func (s MessageSpan) Within(ctx context.Context) context.Context {
	if s.span == nil {
		return ctx
	}
	return trace.ContextWithSpan(ctx, s.span)
}

// End ends the span with a code, by gRPC's numbers, 0 for success. Any other code is an
// error of the span. Err adds its description, see [Describer]; it may be nil.
func (s MessageSpan) End(code uint32, err error) { end(s.span, code, code != codeOK, err) }
