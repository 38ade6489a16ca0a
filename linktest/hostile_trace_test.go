package linktest

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/baggage"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/mtls"
	"github.com/linkmesh/link/internal/securitytest"
	engine "github.com/linkmesh/link/internal/trace"
	"github.com/linkmesh/link/internal/wire"
	"github.com/linkmesh/link/protocol/reqrep"
	"github.com/linkmesh/link/tracing"
)

// TestTraceContextFromAnotherTrustDomain has a partner's service, which may call, send a sampled trace and baggage, and
// expects the server to ignore both.
func TestTraceContextFromAnotherTrustDomain(t *testing.T) { // SEC-125
	method := reqrep.NewMethod[string, string]("orders", "get", link.ReadOnly)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for name, at := range map[string]struct {
		home    bool
		sampled int
		baggage string
	}{"a partner": {false, 0, ""}, "one of ours": {true, 1, "planted"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := NewMesh(t)
				partner := securitytest.NewCA(t, "partner.test")
				exporter := tracetest.NewInMemoryExporter()
				provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))
				srv := mesh.Node(link.Config{
					Service: "orders", Identity: mesh.CA().Source("orders", securitytest.Trusting(partner)),
					Tracer: tracing.New(tracing.Config{TracerProvider: provider}),
				})
				planted := make(chan string, 1)
				reqrep.Handle(srv, method, func(ctx context.Context, _ string) (string, error) {
					planted <- baggage.FromContext(ctx).Member("tenant").Value()
					if sampled := trace.SpanContextFromContext(ctx).IsSampled(); sampled != at.home {
						t.Errorf("the trace is sampled: %v", sampled)
					}
					return "", nil
				})
				mesh.Start(srv)
				source := partner.Source("web", securitytest.Trusting(mesh.CA()))
				if at.home {
					source = mesh.CA().Source("web")
				}
				stream, err := hostileAs(t, mesh, srv, mtls.Client(source, srv.Identity(), mtls.Protocol)).OpenStream()
				if err != nil {
					t.Fatal(err)
				}
				b := wire.AppendVarint(nil, uint64(wire.StreamCall))
				b = wire.AppendHeaders(b, &wire.Headers{
					Route: "get", Timeout: uint64((10 * time.Second).Microseconds()),
					Trace: []wire.Pair{{Key: "baggage", Value: "tenant=planted"}, {Key: "traceparent", Value: parent}},
				})
				// body is an empty text in CBOR.
				body := []byte{0x60}
				b = append(wire.AppendFrameHeader(b, wire.FrameHeader{Kind: wire.KindData, Length: uint64(len(body))}), body...)
				if _, err := stream.Write(b); err != nil {
					t.Fatal(err)
				}
				if err := stream.Close(); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadAll(stream); err != nil {
					t.Fatal(err)
				}
				if got := <-planted; got != at.baggage {
					t.Errorf("baggage in the handler is %q, want %q", got, at.baggage)
				}
				if spans := exporter.GetSpans(); len(spans) != at.sampled {
					t.Errorf("%d spans were sampled, want %d", len(spans), at.sampled)
				}
			})
		})
	}
}

// TestNamesOfSpansAreNotThePeers checks that a peer that calls routes that nobody serves does not get its names into the
// traces, where each new name costs.
func TestNamesOfSpansAreNotThePeers(t *testing.T) { // SEC-611
	synctest.Test(t, func(t *testing.T) {
		mesh := NewMesh(t)
		exporter := tracetest.NewInMemoryExporter()
		provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
		srv := mesh.Node(link.Config{
			Service: "orders", Tracer: tracing.New(tracing.Config{TracerProvider: provider}),
			// Middleware sees calls that nobody serves.
			ServerMiddleware: []link.Middleware{func(next link.Next) link.Next { return next }},
		})
		mesh.Start(srv)
		conn := hostile(t, mesh, srv)
		for _, name := range []string{"made-up", "\x1b[2J", "get\n"} {
			stream, err := conn.OpenStream()
			if err != nil {
				t.Fatal(err)
			}
			b := wire.AppendVarint(nil, uint64(wire.StreamCall))
			b = wire.AppendHeaders(b, &wire.Headers{Route: name, Timeout: 1e7})
			b = append(wire.AppendFrameHeader(b, wire.FrameHeader{Kind: wire.KindData, Length: 1}), 0x60)
			if _, err := stream.Write(b); err != nil {
				t.Fatal(err)
			}
			// Close fails if the reply is there, after which the server reads no more.
			_ = stream.Close()
			if _, err := io.ReadAll(stream); err != nil {
				t.Fatal(err)
			}
		}
		for _, span := range exporter.GetSpans() {
			if span.Name != engine.OtherMethod {
				t.Errorf("a span is named %q", span.Name)
			}
		}
	})
}
