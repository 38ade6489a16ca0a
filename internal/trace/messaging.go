package trace

import (
	"context"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"
)

// MessageSpan is the span of sending or processing a message. Methods of the zero value
// do nothing.
type MessageSpan struct{ span trace.Span }

// StartSend starts the span of a message that is sent to a destination such as
// "orders/placed", and returns a context that carries it. Use [Tracer.Inject] with that
// context to send it along with the message. If no SDK is set, StartSend returns ctx and
// the zero span. The caller must call End.
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

// Correlation is the relation of a span to the span of the sender of a call or message.
type Correlation uint8

// The correlations.
const (
	// Linked starts a new trace with a link to the sender's span, so that a message to
	// thousands of subscribers does not make one huge trace.
	Linked Correlation = iota
	// Child starts a child of the sender's span, for a call, and for a message that one
	// receiver processes.
	Child
	// Foreign starts a new trace with a link to the sender's span and drops the sender's
	// baggage. A sender outside the trust domain must not control sampling here, nor the
	// baggage of calls of this service.
	Foreign
)

// Receive returns ctx with the span and the baggage of the sender of a message, which
// injected carrier, or ctx itself if the sender is [Foreign]. It starts no span, and does not
// keep carrier.
func (t *Tracer) Receive(ctx context.Context, carrier Carrier, how Correlation) context.Context {
	if t == nil || len(carrier) == 0 || how == Foreign {
		return ctx
	}
	return t.extract(ctx, carrier)
}

// StartProcess starts the span of processing a message from a destination, and returns a
// context that carries the span and the baggage. The sender injected carrier, which is not
// kept. If no SDK is set, StartProcess returns the zero span and the context of
// [Tracer.Receive]. The caller must call End.
func (t *Tracer) StartProcess(ctx context.Context, destination string, carrier Carrier, how Correlation) (context.Context, MessageSpan) {
	tracer := t.current()
	if tracer == nil {
		return t.Receive(ctx, carrier, how), MessageSpan{}
	}
	remote := ctx
	if len(carrier) > 0 {
		remote = t.extract(ctx, carrier)
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

// MaxLinks is the maximum number of senders that the span of a batch links to.
const MaxLinks = 128

// StartBatch starts the span of processing several messages from a destination together:
// a new trace with a link to each sender, up to [MaxLinks]. [MessageSpan.Within] returns
// contexts that carry it. If no SDK is set, StartBatch returns the zero span. Carriers are
// not kept. The caller must call End.
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

// Within returns a context that carries the span, or ctx itself for the zero span.
func (s MessageSpan) Within(ctx context.Context) context.Context {
	if s.span == nil {
		return ctx
	}
	return trace.ContextWithSpan(ctx, s.span)
}

// End ends the span with a gRPC status code. Any code but 0 marks the span as failed. The
// description comes from err, see tracing.Describer; err may be nil.
func (s MessageSpan) End(code uint32, err error) { end(s.span, code, code != codeOK, err) }
