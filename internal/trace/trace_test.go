package trace

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// record returns a tracer with an SDK, and the exporter that gets its spans.
func record(options ...sdk.TracerProviderOption) (*Tracer, *tracetest.InMemoryExporter) {
	exporter := tracetest.NewInMemoryExporter()
	provider := sdk.NewTracerProvider(append(options, sdk.WithSyncer(exporter))...)
	return New(provider, nil), exporter
}

// golden is the part of a span that tests compare.
type golden struct {
	Name        string
	Kind        string
	Attributes  map[string]any
	Events      []goldenEvent
	Status      codes.Code
	Description string
}

type goldenEvent struct {
	Name       string
	Attributes map[string]any
}

func toGolden(s tracetest.SpanStub) golden {
	g := golden{
		Name: s.Name, Kind: s.SpanKind.String(), Attributes: values(s.Attributes),
		Status: s.Status.Code, Description: s.Status.Description,
	}
	for _, e := range s.Events {
		g.Events = append(g.Events, goldenEvent{e.Name, values(e.Attributes)})
	}
	return g
}

func values(attributes []attribute.KeyValue) map[string]any {
	out := map[string]any{}
	for _, a := range attributes {
		out[string(a.Key)] = a.Value.AsInterface()
	}
	return out
}

func TestACallIsAClientSpanWithAServerSpanBelow(t *testing.T) {
	tracer, exporter := record()
	ctx := withBaggage(t.Context(), t, "tenant=acme")

	ctx, client := tracer.StartClient(ctx, "orders/get")
	header := tracer.Inject(ctx, nil)
	client.Attempt(1, "i-1")
	client.Attempt(2, "i-2")

	serverCtx, server := tracer.StartServer(t.Context(), "orders/get", header, "web", Child)
	if got := baggage.FromContext(serverCtx).Member("tenant").Value(); got != "acme" {
		t.Errorf("baggage tenant = %q, want acme", got)
	}
	server.Attempt(2)
	failure := fmt.Errorf("peer 10.0.0.1:4433: %w", described{"no such order"})
	server.End(5, failure)
	client.End(5, failure)

	spans := exporter.GetSpans()
	if len(spans) != 2 {
		t.Fatalf("%d spans, want 2", len(spans))
	}
	want := []golden{
		{
			Name: "orders/get", Kind: "server",
			Attributes: map[string]any{
				"rpc.system.name": "link", "rpc.method": "orders/get",
				"service.peer.name": "web", "rpc.response.status_code": "NOT_FOUND", "link.attempt.number": int64(2),
			},
		},
		{
			Name: "orders/get", Kind: "client",
			Attributes: map[string]any{
				"rpc.system.name": "link", "rpc.method": "orders/get",
				"rpc.response.status_code": "NOT_FOUND", "error.type": "NOT_FOUND",
			},
			Events: []goldenEvent{
				{"rpc.attempt", map[string]any{"link.attempt.number": int64(1), "link.peer.instance": "i-1"}},
				{"rpc.attempt", map[string]any{"link.attempt.number": int64(2), "link.peer.instance": "i-2"}},
			},
			Status: codes.Error, Description: "no such order",
		},
	}
	if diff := cmp.Diff(want, []golden{toGolden(spans[0]), toGolden(spans[1])}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if spans[0].Parent.SpanID() != spans[1].SpanContext.SpanID() ||
		spans[0].SpanContext.TraceID() != spans[1].SpanContext.TraceID() || !spans[0].Parent.IsRemote() {
		t.Errorf("server's parent is %v, want the client span %v, remote", spans[0].Parent, spans[1].SpanContext)
	}
	if scope := spans[0].InstrumentationScope; scope.Name != scopeName || scope.SchemaURL != SchemaURL {
		t.Errorf("scope = %+v", scope)
	}
}

func TestStatusOfEveryCode(t *testing.T) {
	for code, want := range statuses() {
		t.Run(want.name, func(t *testing.T) {
			tracer, exporter := record()
			_, client := tracer.StartClient(t.Context(), "m")
			client.End(uint32(code), nil)
			_, server := tracer.StartServer(t.Context(), "m", nil, "", Child)
			server.End(uint32(code), nil)
			spans := exporter.GetSpans()
			checkStatus(t, spans[0], want.name, want.name != "OK")
			checkStatus(t, spans[1], want.name, want.serverError)
		})
	}
}

func checkStatus(t *testing.T, s tracetest.SpanStub, name string, failed bool) {
	t.Helper()
	status, errorType := codes.Unset, any(nil)
	if failed {
		status, errorType = codes.Error, name
	}
	got := values(s.Attributes)
	if s.Status.Code != status || got["rpc.response.status_code"] != name || got["error.type"] != errorType {
		t.Errorf("%v span: status %v, attributes %v; want %v, %s, error.type %v",
			s.SpanKind, s.Status.Code, got, status, name, errorType)
	}
}

func TestErrorsThatDoNotDescribeThemselvesAreNotShown(t *testing.T) {
	tracer, exporter := record()
	_, span := tracer.StartClient(t.Context(), "m")
	span.End(14, errors.New("dial 10.0.0.1:4433 with token s3cret"))
	s := exporter.GetSpans()[0]
	if s.Status.Description != "" || len(s.Events) != 0 {
		t.Fatalf("span shows %q and events %v", s.Status.Description, s.Events)
	}
}

func TestAServerSpanWithoutACallerIsARoot(t *testing.T) {
	tracer, exporter := record()
	ctx, around := tracer.StartClient(t.Context(), "around Run")
	for _, carrier := range []Carrier{nil, {{"traceparent", "malformed"}}} {
		_, span := tracer.StartServer(ctx, "m", carrier, "", Child)
		span.End(0, nil)
	}
	around.End(0, nil)
	for _, s := range exporter.GetSpans()[:2] {
		if s.Parent.IsValid() {
			t.Errorf("parent = %v, want none", s.Parent)
		}
	}
}

func TestAnUnsampledSpanRecordsNothingButIsCarried(t *testing.T) {
	tracer, exporter := record(sdk.WithSampler(sdk.NeverSample()))
	ctx, span := tracer.StartClient(t.Context(), "m")
	header := tracer.Inject(ctx, nil)
	span.Attempt(1, "i")
	span.End(2, nil)
	if len(exporter.GetSpans()) != 0 {
		t.Error("an unsampled span was exported")
	}
	if got := header.Get("traceparent"); len(got) != len(traceparent) || got[len(got)-2:] != "00" {
		t.Errorf("traceparent = %q, want one that is not sampled", got)
	}
}

func TestAnSDKSetLaterIsUsed(t *testing.T) {
	placeholder := otel.GetTracerProvider()
	if !isPlaceholder(placeholder) || !isPlaceholder(otel.GetTextMapPropagator()) {
		t.Fatalf("%T and %T are not recognized as package otel's placeholders", placeholder, otel.GetTextMapPropagator())
	}
	t.Cleanup(func() { otel.SetTracerProvider(placeholder) })
	tracers := map[string]*Tracer{
		"zero config":      New(nil, nil),
		"the placeholders": New(placeholder, otel.GetTextMapPropagator()),
	}
	for name, tracer := range tracers {
		if tracer.Enabled() {
			t.Errorf("%s: enabled before an SDK is set", name)
		}
	}
	exporter := tracetest.NewInMemoryExporter()
	otel.SetTracerProvider(sdk.NewTracerProvider(sdk.WithSyncer(exporter)))
	for name, tracer := range tracers {
		exporter.Reset()
		ctx, span := tracer.StartClient(t.Context(), "m")
		header := tracer.Inject(ctx, nil)
		span.End(0, nil)
		if !tracer.Enabled() || len(exporter.GetSpans()) != 1 || header.Get("traceparent") == "" {
			t.Errorf("%s: enabled %v, %d spans, header %v", name, tracer.Enabled(), len(exporter.GetSpans()), header)
		}
	}
	otel.SetTracerProvider(noop.NewTracerProvider())
	for name, tracer := range tracers {
		if tracer.Enabled() {
			t.Errorf("%s: enabled with the no-op provider", name)
		}
	}
}

func TestAGlobalPropagatorReplacesTheStandard(t *testing.T) {
	before := otel.GetTextMapPropagator()
	t.Cleanup(func() { otel.SetTextMapPropagator(before) })
	tracer := New(nil, nil)
	ctx := withBaggage(withRemote(t.Context()), t, "tenant=acme")
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.Baggage{}))
	if diff := cmp.Diff(Carrier{{"baggage", "tenant=acme"}}, tracer.Inject(ctx, nil)); diff != "" {
		t.Errorf("global (-want +got):\n%s", diff)
	}
	tracer = New(nil, propagation.TraceContext{})
	if diff := cmp.Diff(Carrier{{"traceparent", traceparent}}, tracer.Inject(ctx, nil)); diff != "" {
		t.Errorf("configured (-want +got):\n%s", diff)
	}
}

// fixedProvider is not a pointer, and comparing it panics.
type fixedProvider struct {
	trace.TracerProvider
	_ []int
}

func TestAnyKindOfGlobalProviderWorks(t *testing.T) {
	before := otel.GetTracerProvider()
	t.Cleanup(func() { otel.SetTracerProvider(before) })
	exporter := tracetest.NewInMemoryExporter()
	otel.SetTracerProvider(fixedProvider{TracerProvider: sdk.NewTracerProvider(sdk.WithSyncer(exporter))})
	tracer := New(nil, nil)
	for range 2 {
		_, span := tracer.StartClient(t.Context(), "m")
		span.End(0, nil)
	}
	if got := len(exporter.GetSpans()); got != 2 {
		t.Fatalf("%d spans, want 2", got)
	}
}

// inert returns tracers that have no SDK.
func inert() map[string]*Tracer {
	return map[string]*Tracer{
		"nil":           nil,
		"zero config":   New(nil, nil),
		"no-op":         New(noop.NewTracerProvider(), nil),
		"pointed no-op": New(&noop.TracerProvider{}, nil),
	}
}

func TestWithoutAnSDKNothingIsMade(t *testing.T) {
	for name, tracer := range inert() {
		if tracer.Enabled() {
			t.Errorf("%s: enabled", name)
		}
		ctx, client := tracer.StartClient(t.Context(), "m")
		serverCtx, server := tracer.StartServer(t.Context(), "m", nil, "web", Child)
		if ctx != t.Context() || serverCtx != t.Context() || client != (ClientSpan{}) || server != (ServerSpan{}) {
			t.Errorf("%s: a span was made", name)
		}
	}
}

func TestWithoutAnSDKContextPassesThrough(t *testing.T) {
	for name, tracer := range inert() {
		if tracer == nil {
			continue
		}
		in := Carrier{{"traceparent", traceparent}, {"baggage", "tenant=acme"}}
		ctx, server := tracer.StartServer(t.Context(), "m", in, "web", Child)
		ctx, client := tracer.StartClient(ctx, "next")
		if diff := cmp.Diff(in, tracer.Inject(ctx, nil)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		client.End(0, nil)
		server.End(0, nil)
	}
}

func TestWithoutAnSDKNothingIsAllocated(t *testing.T) {
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "a user's value")
	buffer := make(Carrier, 0, 4)
	for name, tracer := range inert() {
		got := testing.AllocsPerRun(1000, func() {
			clientCtx, client := tracer.StartClient(ctx, "orders/get")
			header := tracer.Inject(clientCtx, buffer)
			client.Attempt(1, "i-1")
			client.End(5, context.Canceled)
			_, server := tracer.StartServer(ctx, "orders/get", header, "web", Child)
			server.End(5, context.Canceled)
		})
		if got != 0 {
			t.Errorf("%s: %v allocations, want 0", name, got)
		}
	}
}

// TestAForeignSenderIsLinkedToAndNoMore checks that a sender outside of the trust domain cannot force sampling, and
// cannot plant baggage in the calls that its own causes, with an SDK and without one.
func TestAForeignSenderIsLinkedToAndNoMore(t *testing.T) { // SEC-125
	in := Carrier{{"traceparent", traceparent}, {"tracestate", "vendor=x"}, {"baggage", "tenant=victim"}}
	exporter := tracetest.NewInMemoryExporter()
	never := sdk.NewTracerProvider(sdk.WithSyncer(exporter), sdk.WithSampler(sdk.ParentBased(sdk.NeverSample())))
	always := sdk.NewTracerProvider(sdk.WithSyncer(exporter))
	for name, tracer := range map[string]*Tracer{
		"no SDK": New(nil, nil), "never sampled": New(never, nil), "sampled": New(always, nil),
	} {
		for kind, start := range map[string]func() (context.Context, func()){
			"call": func() (context.Context, func()) {
				ctx, span := tracer.StartServer(t.Context(), "orders/get", in, "web", Foreign)
				return ctx, func() { span.End(0, nil) }
			},
			"message": func() (context.Context, func()) {
				ctx, span := tracer.StartProcess(t.Context(), "orders/placed", in, Foreign)
				return ctx, func() { span.End(0, nil) }
			},
		} {
			exporter.Reset()
			ctx, end := start()
			out := tracer.Inject(ctx, nil)
			end()
			if parent := out.Get("traceparent"); strings.Contains(parent, traceID) || out.Get("tracestate") != "" || out.Get("baggage") != "" {
				t.Errorf("%s, %s: what goes on is %v", name, kind, out)
			}
			spans := exporter.GetSpans()
			if want := map[string]int{"sampled": 1}[name]; len(spans) != want {
				t.Fatalf("%s, %s: %d spans, want %d", name, kind, len(spans), want)
			}
			for _, span := range spans {
				if span.Parent.IsValid() || len(span.Links) != 1 || span.Links[0].SpanContext.TraceID().String() != traceID {
					t.Errorf("%s, %s: parent %v, links %v; want no parent and a link", name, kind, span.Parent, span.Links)
				}
			}
		}
	}
}
