package pipeline_test

import (
	"context"
	"testing"
	"testing/synctest"

	"go.opentelemetry.io/otel/baggage"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/security"
	"github.com/linkmesh/link/tracing"
)

// TestATaskOfAnotherTrustDomainContinuesNoTrace checks that a partner that may push can neither decide
// what is sampled here nor set baggage.
func TestATaskOfAnotherTrustDomainContinuesNoTrace(t *testing.T) { // SEC-398
	const parent, traceID = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "0af7651916cd43dd8448eb211c80319c"
	for name, at := range map[string]struct {
		home    bool
		baggage string
	}{"a partner": {false, ""}, "one of ours": {true, "planted"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				exporter := tracetest.NewInMemoryExporter()
				provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))
				node := mesh.Node(link.Config{Service: "mailer", Tracer: tracing.New(tracing.Config{TracerProvider: provider})})
				seen := make(chan context.Context, 1)
				w := pipeline.Pull(node, receipts, pipeline.NoResult(func(ctx context.Context, _ order) error { seen <- ctx; return nil }))
				mesh.Start(node)
				domain := "partner.test"
				if at.home {
					domain = node.Identity().TrustDomain()
				}
				identity, err := security.ParseID("spiffe://" + domain + "/ns/default/svc/web")
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				st := pipeline.ServeAs(ctx, w, link.Peer{Identity: identity, Addr: "10.0.0.9:1"})
				hello, err := frame.Encode(frame.KindHello, frame.Hello{Queue: "q"})
				if err != nil {
					t.Fatal(err)
				}
				payload, err := link.HostOf(node).Codec().Append(nil, &order{})
				if err != nil {
					t.Fatal(err)
				}
				body := frame.Body{Payload: payload, Trace: []frame.Pair{{Name: "baggage", Value: "tenant=planted"}, {Name: "traceparent", Value: parent}}}
				rec := frame.Task{Seq: 1, Delivery: 1, Attempt: 1, Left: -1, Start: -1, Body: body.Append(nil)}
				if err := st.Send(hello); err != nil {
					t.Fatal(err)
				}
				for {
					f, err := st.Recv()
					if err != nil {
						t.Fatal(err)
					}
					if f.Kind == frame.KindWindow {
						break
					}
				}
				if err := st.Send(link.Frame{Kind: frame.KindTasks, Credited: true, Body: rec.Append(nil)}); err != nil {
					t.Fatal(err)
				}
				handler := <-seen
				span := trace.SpanContextFromContext(handler)
				if got := baggage.FromContext(handler).Member("tenant").Value(); got != at.baggage {
					t.Errorf("baggage in the handler is %q, want %q", got, at.baggage)
				}
				if continued := span.TraceID().String() == traceID; continued != at.home || span.IsSampled() != at.home {
					t.Errorf("the handler is in trace %v, sampled %v; want that of the producer: %v", span.TraceID(), span.IsSampled(), at.home)
				}
				synctest.Wait()
				if n := len(exporter.GetSpans()); (n == 1) != at.home {
					t.Errorf("%d spans were sampled", n)
				}
			})
		})
	}
}
