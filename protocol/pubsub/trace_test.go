package pubsub_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
	"github.com/linkmesh/link/tracing"
)

func TestADeliveryIsLinkedToItsPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		sent, handled := tracetest.NewInMemoryExporter(), tracetest.NewInMemoryExporter()
		tracer := func(e *tracetest.InMemoryExporter) *tracing.Tracer {
			return tracing.New(tracing.Config{TracerProvider: sdk.NewTracerProvider(sdk.WithSyncer(e))})
		}
		_, p := publisher(t, mesh, link.Config{Tracer: tracer(sent)})
		for range 2 {
			s, err := pubsub.SubscribeFunc(t.Context(), mesh.Node(link.Config{Tracer: tracer(handled)}), placed,
				func(context.Context, pubsub.Message[order]) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
		}
		sent.Reset()
		handled.Reset()
		publish(t, p, 1, 1)
		sleep(time.Second)
		var publishes []tracetest.SpanStub
		for _, s := range sent.GetSpans() {
			if s.Name == "send orders/placed" {
				publishes = append(publishes, s)
			}
		}
		if len(publishes) != 1 {
			t.Fatalf("%d spans of publishing", len(publishes))
		}
		n := 0
		for _, s := range handled.GetSpans() {
			if s.Name != "process orders/placed" {
				continue
			}
			n++
			if len(s.Links) != 1 || s.Links[0].SpanContext.SpanID() != publishes[0].SpanContext.SpanID() || s.Parent.IsValid() {
				t.Errorf("links %v, parent %v", s.Links, s.Parent)
			}
		}
		if n != 2 {
			t.Errorf("%d spans of handling, want one for each subscriber", n)
		}
	})
}
