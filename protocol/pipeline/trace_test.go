package pipeline_test

import (
	"context"
	"testing"
	"testing/synctest"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
	"github.com/linkmesh/link/tracing"
)

func TestTheTraceGoesWithTheTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exporter := tracetest.NewInMemoryExporter()
		provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
		tracer := tracing.New(tracing.Config{TracerProvider: provider})
		mesh := linktest.NewMesh(t)
		node := mesh.Node(link.Config{Service: "mailer", Tracer: tracer})
		seen := make(chan trace.SpanContext, 1)
		pipeline.Pull(node, receipts, pipeline.NoResult(func(ctx context.Context, _ order) error {
			seen <- trace.SpanContextFromContext(ctx)
			return nil
		}))
		mesh.Start(node)
		client := mesh.Node(link.Config{Tracer: tracer})
		ctx, root := provider.Tracer("test").Start(t.Context(), "root")
		if _, err := pipeline.Push(ctx, client, receipts, order{}); err != nil {
			t.Fatal(err)
		}
		root.End()
		handler := <-seen
		if handler.TraceID() != root.SpanContext().TraceID() {
			t.Errorf("the handler is in trace %v, the push in %v", handler.TraceID(), root.SpanContext().TraceID())
		}
		var push, process *tracetest.SpanStub
		for _, s := range exporter.GetSpans() {
			if s.SpanContext.TraceID() != root.SpanContext().TraceID() {
				continue
			}
			switch s.SpanKind {
			case trace.SpanKindProducer:
				push = &s
			case trace.SpanKindConsumer:
				process = &s
			}
		}
		if push == nil || process == nil || process.Parent.SpanID() != push.SpanContext.SpanID() || push.Parent.SpanID() != root.SpanContext().SpanID() || process.SpanContext.SpanID() != handler.SpanID() {
			t.Errorf("spans %+v", exporter.GetSpans())
		}
	})
}
