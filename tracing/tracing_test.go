package tracing_test

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/linkmesh/link/internal/trace"
	"github.com/linkmesh/link/tracing"
)

type described struct{}

func (described) Error() string           { return "dial 10.0.0.1:4433 with token s3cret" }
func (described) SpanDescription() string { return "no such order" }

// TestATracerIsWhatItsConfigSays checks that the engine gets the provider and the propagator, and knows what users'
// errors say for spans.
func TestATracerIsWhatItsConfigSays(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	tracer := (*trace.Tracer)(tracing.New(tracing.Config{
		TracerProvider: sdk.NewTracerProvider(sdk.WithSyncer(exporter)),
		Propagator:     propagation.Baggage{},
	}))
	ctx, span := tracer.StartClient(withTenant(t), "orders/get")
	sent := tracer.Inject(ctx, nil)
	var failure tracing.Describer = described{}
	span.End(5, fmt.Errorf("peer 10.0.0.1:4433: %w", failure))
	if len(sent) != 1 || sent.Get("baggage") != "tenant=acme" {
		t.Errorf("the propagator of the config carries %v", sent)
	}
	spans := exporter.GetSpans()
	if len(spans) != 1 || spans[0].Status.Description != failure.SpanDescription() || spans[0].InstrumentationScope.SchemaURL != trace.SchemaURL {
		t.Errorf("the provider of the config has %+v", spans)
	}
}

// TestTheCommentTellsTheConventions checks that the comment of the package names the version of the conventions.
func TestTheCommentTellsTheConventions(t *testing.T) {
	text, err := os.ReadFile("tracing.go")
	if err != nil {
		t.Fatal(err)
	}
	if want := "follow version " + path.Base(trace.SchemaURL) + " of OpenTelemetry's semantic\n// conventions"; !strings.Contains(string(text), want) {
		t.Errorf("the comment does not say %q", want)
	}
}

func TestATracerWithoutAConfigUsesTheStandard(t *testing.T) {
	tracer := (*trace.Tracer)(tracing.New(tracing.Config{}))
	if sent := tracer.Inject(withTenant(t), nil); tracer.Enabled() || sent.Get("baggage") != "tenant=acme" {
		t.Errorf("enabled: %t; it carries %v", tracer.Enabled(), sent)
	}
}

func withTenant(t *testing.T) context.Context {
	t.Helper()
	b, err := baggage.Parse("tenant=acme")
	if err != nil {
		t.Fatal(err)
	}
	return baggage.ContextWithBaggage(t.Context(), b)
}
