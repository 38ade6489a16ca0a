package link_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/protocol/reqrep"
	"github.com/linkmesh/link/security"
	"github.com/linkmesh/link/tracing"
)

// tracedChild makes the test binary the server process of TestTraceAcrossProcesses.
const tracedChild = "LINK_TEST_TRACED_CHILD"

var traced = reqrep.NewMethod[orderQuery, string]("traced", "who", link.Unsafe)

// childSpan is what the server process reports about a span.
type childSpan struct {
	Name, Kind, TraceID, SpanID, Parent, Status string
	Remote                                      bool
}

// serveTraced runs a traced node until stdin ends, then prints its spans.
func serveTraced() error {
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	registry, err := static.New()
	if err != nil {
		return err
	}
	node, err := link.New(link.Config{
		Service: "traced", Addr: "127.0.0.1:0", Registry: registry, Logger: slog.New(slog.DiscardHandler),
		Tracer: tracing.New(tracing.Config{TracerProvider: provider}),
	})
	if err != nil {
		return err
	}
	reqrep.Handle(node, traced, func(ctx context.Context, q orderQuery) (string, error) {
		if q.ID == "" {
			return "", link.Errorf(link.Unavailable, "not today")
		}
		_, span := provider.Tracer("test").Start(ctx, "inside")
		span.End()
		return baggage.FromContext(ctx).Member("tenant").Value(), nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- node.Run(ctx) }()
	<-node.Ready()
	// The parent waits for the address, and closes stdin when it is done.
	_, _ = fmt.Fprintln(os.Stdout, node.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	cancel()
	if err := <-served; err != nil {
		return err
	}
	var out []childSpan
	for _, s := range exporter.GetSpans() {
		out = append(out, childSpan{
			s.Name, s.SpanKind.String(), s.SpanContext.TraceID().String(), s.SpanContext.SpanID().String(),
			s.Parent.SpanID().String(), s.Status.Code.String(), s.Parent.IsRemote(),
		})
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// TestTraceAcrossProcesses calls a server in another process and compares the spans
// that the exporters of both processes got.
func TestTraceAcrossProcesses(t *testing.T) {
	secret := security.NewSecret()
	t.Setenv("LINK_CLUSTER_SECRET", secret)
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), tracedChild+"=1")
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	addr, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}

	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	registry, err := static.New(discovery.Instance{ID: "traced-1", Service: "traced", Addr: strings.TrimSpace(addr)})
	if err != nil {
		t.Fatal(err)
	}
	client, err := link.New(link.Config{Addr: "127.0.0.1:0", Registry: registry, Tracer: tracing.New(tracing.Config{TracerProvider: provider})})
	if err != nil {
		t.Fatal(err)
	}
	member, err := baggage.NewMember("tenant", "acme")
	if err != nil {
		t.Fatal(err)
	}
	bag, err := baggage.New(member)
	if err != nil {
		t.Fatal(err)
	}
	ctx, root := provider.Tracer("test").Start(baggage.ContextWithBaggage(t.Context(), bag), "root")
	got, err := reqrep.Call(ctx, client, traced, orderQuery{ID: "o-1"})
	if err != nil || got != "acme" {
		t.Errorf("call: %q, %v; want the baggage of the caller", got, err)
	}
	if _, err := reqrep.Call(ctx, client, traced, orderQuery{}); link.CodeOf(err) != link.Unavailable {
		t.Errorf("second call: %v, want unavailable", err)
	}
	root.End()
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	var remote []childSpan
	if err := json.NewDecoder(lines).Decode(&remote); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}

	local := exporter.GetSpans()
	calls := slices.DeleteFunc(slices.Clone(local), func(s tracetest.SpanStub) bool { return s.Name != "traced/who" })
	if len(calls) != 2 {
		t.Fatalf("client made %d spans of calls, want 2: %+v", len(calls), local)
	}
	for i, s := range calls {
		if s.SpanKind != trace.SpanKindClient || s.Parent.SpanID() != root.SpanContext().SpanID() {
			t.Errorf("client span %d: kind %v, parent %v; want a client span under root", i, s.SpanKind, s.Parent.SpanID())
		}
		if len(s.Events) != 1 {
			t.Errorf("client span %d has %d events, want one per attempt: %+v", i, len(s.Events), s.Events)
		}
	}
	if calls[0].Status.Code == codes.Error || calls[1].Status.Code != codes.Error {
		t.Errorf("client statuses %v and %v, want only the second to be an error", calls[0].Status, calls[1].Status)
	}
	var servers, inside int
	for _, s := range remote {
		if s.TraceID != root.SpanContext().TraceID().String() {
			t.Errorf("span %s of the server is in trace %s, want that of the client", s.Name, s.TraceID)
		}
		switch s.Name {
		case "traced/who":
			parent := calls[servers].SpanContext.SpanID().String()
			servers++
			if s.Kind != "server" || s.Parent != parent || !s.Remote {
				t.Errorf("server span %+v, want a child of the client span %s in another process", s, parent)
			}
		case "inside":
			inside++
		}
	}
	if servers != 2 || inside != 1 {
		t.Errorf("server process made %d server spans and %d inside, want 2 and 1: %+v", servers, inside, remote)
	}
}
