package pubsub

import (
	"context"
	"testing"
	"time"

	"go.opentelemetry.io/otel/baggage"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
	"github.com/linkmesh/link/protocol/pubsub/internal/receive"
	"github.com/linkmesh/link/tracing"
)

// traced returns a message with a sampled trace and baggage. If foreign is set, its publisher is in
// another trust domain.
func traced(t *testing.T, foreign bool) *Message[int] {
	t.Helper()
	now := time.Now()
	log, err := journal.New(journal.Options{Epoch: 1}, now)
	if err != nil {
		t.Fatal(err)
	}
	cursor, err := log.Subscribe(journal.Subscription{Patterns: []string{">"}}, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append(journal.Message{Topic: "placed", Trace: []journal.Pair{
		{Name: "traceparent", Value: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, {Name: "baggage", Value: "tenant=planted"},
	}}, now); err != nil {
		t.Fatal(err)
	}
	frame, _, _, err := cursor.Fill(nil, 1<<10, 1, now)
	if err != nil {
		t.Fatal(err)
	}
	r := journal.NewReader(journal.ReaderLimits{})
	r.Reset(frame)
	var rec journal.Record
	for rec.Kind != journal.KindMessage {
		if ok, err := r.Next(&rec); !ok {
			t.Fatal("no message", err)
		}
	}
	return &Message[int]{conn: &receive.Conn{Foreign: foreign, Member: &receive.Member{Topic: "orders/placed"}}, pairs: &pairs{trace: rec.Trace}}
}

// TestTheTraceOfAMessageFromAnotherTrustDomain checks that such a trace is only linked to: its publisher decides neither
// what is sampled here, nor the baggage of the calls of this service.
func TestTheTraceOfAMessageFromAnotherTrustDomain(t *testing.T) { // SEC-125
	for _, foreign := range []bool{false, true} {
		exporter := tracetest.NewInMemoryExporter()
		tracer := tracing.New(tracing.Config{TracerProvider: sdk.NewTracerProvider(sdk.WithSyncer(exporter))})
		m := traced(t, foreign)
		ctx, span := m.process(t.Context(), tracer)
		span.End(0, nil)
		want := map[bool]string{false: "planted"}[foreign]
		if got := baggage.FromContext(ctx).Member("tenant").Value(); got != want {
			t.Errorf("foreign %t: baggage is %q, want %q", foreign, got, want)
		}
		sender := trace.SpanContextFromContext(ctx).TraceID().String() == "0af7651916cd43dd8448eb211c80319c"
		spans := exporter.GetSpans()
		if len(spans) != 1 || len(spans[0].Links) != 1 || spans[0].Parent.IsValid() || sender {
			t.Errorf("foreign %t: spans %+v, the trace is the sender's: %t", foreign, spans, sender)
		}
		bare := tracing.New(tracing.Config{})
		handled, _ := m.process(t.Context(), bare)
		for how, plain := range map[string]context.Context{
			"handled without an SDK": handled, "read without an SDK": m.Context(t.Context(), bare), "read": m.Context(t.Context(), tracer),
		} {
			if got := baggage.FromContext(plain).Member("tenant").Value(); got != want {
				t.Errorf("foreign %t, %s: baggage is %q, want %q", foreign, how, got, want)
			}
			if is := trace.SpanContextFromContext(plain).IsValid(); is == foreign {
				t.Errorf("foreign %t, %s: the trace goes on: %t", foreign, how, is)
			}
		}
		if n := len(exporter.GetSpans()); n != 1 {
			t.Errorf("foreign %t: %d spans, want only that of handling", foreign, n)
		}
	}
}
