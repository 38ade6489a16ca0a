package trace

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
)

func TestAMessageHasASpanOnEachSide(t *testing.T) {
	for name, how := range map[string]Correlation{"linked": Linked, "child": Child} {
		tracer, exporter := record()
		ctx := withBaggage(t.Context(), t, "tenant=acme")
		ctx, send := tracer.StartSend(ctx, "orders/placed")
		header := tracer.Inject(ctx, nil)
		send.End(0, nil)

		processCtx, process := tracer.StartProcess(t.Context(), "orders/placed", header, how)
		process.End(13, nil)
		if got := baggage.FromContext(processCtx).Member("tenant").Value(); got != "acme" {
			t.Errorf("%s: baggage is %q", name, got)
		}
		spans := exporter.GetSpans()
		if len(spans) != 2 {
			t.Fatalf("%s: %d spans", name, len(spans))
		}
		want := golden{Name: "send orders/placed", Kind: "producer", Attributes: map[string]any{
			"messaging.system": "link", "messaging.operation.name": "send", "messaging.destination.name": "orders/placed",
			"rpc.response.status_code": "OK",
		}}
		if diff := cmp.Diff(want, toGolden(spans[0])); diff != "" {
			t.Errorf("%s, sender (-want +got):\n%s", name, diff)
		}
		want = golden{Name: "process orders/placed", Kind: "consumer", Status: codes.Error, Attributes: map[string]any{
			"messaging.system": "link", "messaging.operation.name": "process", "messaging.destination.name": "orders/placed",
			"rpc.response.status_code": "INTERNAL", "error.type": "INTERNAL",
		}}
		if diff := cmp.Diff(want, toGolden(spans[1])); diff != "" {
			t.Errorf("%s, receiver (-want +got):\n%s", name, diff)
		}
		sender, got := spans[0].SpanContext, spans[1]
		if len(got.Links) != 1 || got.Links[0].SpanContext.SpanID() != sender.SpanID() {
			t.Errorf("%s: links %v", name, got.Links)
		}
		if child := got.Parent.SpanID() == sender.SpanID(); child != (how == Child) || (got.SpanContext.TraceID() == sender.TraceID()) != child {
			t.Errorf("%s: parent %v, trace %v, sender %v", name, got.Parent, got.SpanContext, sender)
		}
	}
}

func TestABatchIsLinkedToItsSenders(t *testing.T) {
	tracer, exporter := record()
	var carriers []Carrier
	for range MaxLinks + 1 {
		ctx, send := tracer.StartSend(t.Context(), "mailer/receipts")
		carriers = append(carriers, tracer.Inject(ctx, nil))
		send.End(0, nil)
	}
	carriers = append(carriers, nil)
	exporter.Reset()
	span := tracer.StartBatch(t.Context(), "mailer/receipts", carriers)
	child := tracer.Inject(span.Within(t.Context()), nil)
	span.End(0, nil)
	spans := exporter.GetSpans()
	if len(spans) != 1 || len(spans[0].Links) != MaxLinks || spans[0].Parent.IsValid() || len(child) == 0 {
		t.Fatalf("spans %+v, carrier %v", spans, child)
	}
	if got := values(spans[0].Attributes)["messaging.batch.message_count"]; got != int64(len(carriers)) {
		t.Errorf("a batch of %v", got)
	}
	if ctx := (MessageSpan{}).Within(t.Context()); ctx != t.Context() {
		t.Error("no span makes another context")
	}
}

func TestMessagesWithoutAnSDK(t *testing.T) {
	in := Carrier{{"traceparent", traceparent}, {"baggage", "tenant=acme"}}
	for name, tracer := range inert() {
		if tracer != nil {
			ctx, span := tracer.StartProcess(t.Context(), "d", in, Linked)
			if diff := cmp.Diff(in, tracer.Inject(ctx, nil)); diff != "" || span != (MessageSpan{}) {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		got := testing.AllocsPerRun(100, func() {
			_, send := tracer.StartSend(t.Context(), "d")
			send.End(0, nil)
			_, process := tracer.StartProcess(t.Context(), "d", nil, Linked)
			process.End(0, nil)
		})
		if got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}
