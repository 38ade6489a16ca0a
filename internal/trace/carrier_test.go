package trace

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

var _ propagation.TextMapCarrier = (*Carrier)(nil)

const (
	traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	traceID     = "0af7651916cd43dd8448eb211c80319c"
	spanID      = "b7ad6b7169203331"
)

func withBaggage(ctx context.Context, t *testing.T, members string) context.Context {
	t.Helper()
	b, err := baggage.Parse(members)
	if err != nil {
		t.Fatal(err)
	}
	return baggage.ContextWithBaggage(ctx, b)
}

func withRemote(ctx context.Context) context.Context {
	return New(nil, nil).extract(ctx, Carrier{{"traceparent", traceparent}})
}

func TestCarrierReadsAndWritesInOrder(t *testing.T) {
	var c Carrier
	c.Set("a", "1")
	c.Set("b", "2")
	c.Set("a", "3")
	if diff := cmp.Diff(Carrier{{"a", "3"}, {"b", "2"}}, c); diff != "" {
		t.Fatal(diff)
	}
	if c.Get("b") != "2" || c.Get("c") != "" {
		t.Fatalf("Get: b %q, c %q", c.Get("b"), c.Get("c"))
	}
	if diff := cmp.Diff([]string{"a", "b"}, c.Keys()); diff != "" {
		t.Fatal(diff)
	}
}

func TestInjectAppendsWhatTheContextHolds(t *testing.T) {
	own := Carrier{{"own", "x"}}
	bag := Pair{"baggage", "tenant=acme"}
	parent := Pair{"traceparent", traceparent}
	same := func(ctx context.Context) context.Context { return ctx }
	baggaged := func(ctx context.Context) context.Context { return withBaggage(ctx, t, "tenant=acme") }
	tests := []struct {
		name string
		with func(context.Context) context.Context
		want Carrier
	}{
		{"nothing", same, own},
		{"a remote span passes through without an SDK", withRemote, append(slices.Clip(own), parent)},
		{"baggage alone", baggaged, append(slices.Clip(own), bag)},
		{"both", func(ctx context.Context) context.Context { return baggaged(withRemote(ctx)) }, append(slices.Clip(own), parent, bag)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, spare := range []int{0, 8} {
				dst := append(make(Carrier, 0, len(own)+spare), own...)
				if diff := cmp.Diff(tt.want, New(nil, nil).Inject(tt.with(t.Context()), dst)); diff != "" {
					t.Fatalf("with room for %d (-want +got):\n%s", spare, diff)
				}
			}
		})
	}
}

func TestWhatIsBeyondTheLimitsIsLeftOutAndTheTraceKept(t *testing.T) {
	big := Pair{"baggage", "k=" + strings.Repeat("v", MaxBytes-20)}
	state := Pair{"tracestate", "a=1"}
	parent := Pair{"traceparent", traceparent}
	var many Carrier
	for i := range MaxPairs + 4 {
		many = append(many, Pair{string(rune('a' + i)), "v"})
	}
	tests := []struct {
		name       string
		dst, added Carrier
		want       Carrier
	}{
		{"all fits", nil, Carrier{{"x", "1"}, parent}, Carrier{{"x", "1"}, parent}},
		{"oversize baggage first", nil, Carrier{big, {"x", "1"}, state, parent}, Carrier{parent, state, {"x", "1"}}},
		{"oversize state first", nil, Carrier{{"tracestate", strings.Repeat("s", MaxBytes)}, parent}, Carrier{parent}},
		{"oversize traceparent", nil, Carrier{{"traceparent", strings.Repeat("0", MaxBytes)}, {"x", "1"}}, Carrier{{"x", "1"}}},
		{"too many pairs", nil, append(slices.Clip(many), parent), append(Carrier{parent}, many[:MaxPairs-1]...)},
		{"what was there counts", many[:MaxPairs-1], Carrier{{"x", "1"}, parent}, append(many[:MaxPairs-1:MaxPairs-1], parent)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := append(Carrier{}, tt.added...)
			got := fit(slices.Clip(tt.dst), tt.added)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Fatalf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, tt.added); diff != "" {
				t.Fatalf("the input changed:\n%s", diff)
			}
		})
	}
}

func TestOversizeBaggageIsDroppedOnBothSides(t *testing.T) {
	tracer := New(nil, nil)
	const member = 4000
	var all baggage.Baggage
	// Together, the members have more than 8 KiB.
	for _, key := range []string{"a", "b", "c"} {
		m, err := baggage.NewMember(key, strings.Repeat("v", member))
		if err != nil {
			t.Fatal(err)
		}
		if all, err = all.SetMember(m); err != nil {
			t.Fatal(err)
		}
	}
	ctx := baggage.ContextWithBaggage(withRemote(t.Context()), all)
	sent := tracer.Inject(ctx, nil)
	if diff := cmp.Diff(Carrier{{"traceparent", traceparent}}, sent); diff != "" {
		t.Fatalf("sent (-want +got):\n%s", diff)
	}
	hostile := Carrier{{"baggage", "k=" + strings.Repeat("v", MaxBytes)}, {"traceparent", traceparent}}
	got := tracer.extract(t.Context(), hostile)
	if n := baggage.FromContext(got).Len(); n != 0 {
		t.Errorf("received %d members of oversize baggage, want 0", n)
	}
	if !trace.SpanContextFromContext(got).IsValid() {
		t.Error("the trace was dropped with the baggage")
	}
}

func TestMalformedTraceparentIsIgnored(t *testing.T) {
	for _, bad := range []string{
		"", "x", "00-" + traceID + "-" + spanID,
		"ff-" + traceID + "-" + spanID + "-01",
		"00-" + strings.Repeat("0", 32) + "-" + spanID + "-01",
		"00-" + traceID + "-" + strings.Repeat("0", 16) + "-01",
		"00-" + strings.ToUpper(traceID) + "-" + spanID + "-01",
		traceparent + "-more", strings.Repeat("0", MaxBytes),
	} {
		ctx, span := New(nil, nil).StartServer(t.Context(), "orders/get", Carrier{{"traceparent", bad}}, "", Child)
		span.End(0, nil)
		if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
			t.Errorf("traceparent %.80q was taken as %v", bad, sc)
		}
	}
}

func FuzzExtract(f *testing.F) {
	f.Add("traceparent", traceparent, "baggage", "a=1,b=2;p=q")
	f.Add("tracestate", "a=1", "traceparent", "00-")
	f.Add("baggage", "%%%", "baggage", strings.Repeat("a=1,", 100))
	tracer := New(nil, nil)
	f.Fuzz(func(t *testing.T, key1, value1, key2, value2 string) {
		ctx, span := tracer.StartServer(t.Context(), "m", Carrier{{key1, value1}, {key2, value2}}, "", Child)
		span.End(0, nil)
		if out := tracer.Inject(ctx, nil); !fits(out) {
			t.Fatalf("Inject exceeded the limits: %d pairs", len(out))
		}
	})
}
