package tracing

import (
	"context"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"
)

// Limits of a [Carrier], of what is injected and of what is extracted. The W3C
// traceparent is kept first, then tracestate, then other pairs in order while they
// fit.
const (
	// MaxPairs is the most pairs.
	MaxPairs = 16
	// MaxBytes is the most bytes of all keys and values together.
	MaxBytes = 8 << 10
)

// Pair is one key of a carrier, in lower case, with its value.
type Pair struct{ Key, Value string }

// Carrier is the trace context of a header: a few pairs in order. Its pointer is
// OpenTelemetry's TextMapCarrier.
type Carrier []Pair

// Get returns the value of the first pair with key, empty if there is none.
func (c *Carrier) Get(key string) string {
	for _, p := range *c {
		if p.Key == key {
			return p.Value
		}
	}
	return ""
}

// Set replaces the value of key, or appends the pair.
func (c *Carrier) Set(key, value string) {
	for i := range *c {
		if (*c)[i].Key == key {
			(*c)[i].Value = value
			return
		}
	}
	*c = append(*c, Pair{Key: key, Value: value})
}

// Keys returns the keys in order.
func (c *Carrier) Keys() []string {
	keys := make([]string, len(*c))
	for i, p := range *c {
		keys[i] = p.Key
	}
	return keys
}

// Inject appends the trace context and baggage of ctx to dst and returns it. Dst
// as given comes back when ctx has neither a valid span, local or remote, nor
// baggage; this costs two lookups in ctx and no allocation. It works whether or
// not an SDK is set. A pair that would take the result beyond [MaxPairs] or
// [MaxBytes] is left out.
func (t *Tracer) Inject(ctx context.Context, dst Carrier) Carrier {
	if t == nil || spanless(ctx) && baggage.FromContext(ctx).Len() == 0 {
		return dst
	}
	return t.inject(ctx, dst)
}

// noSpan is the span of a context that has none. Comparing with it costs less than
// asking for its span context, which is copied.
var noSpan = trace.SpanFromContext(context.Background()) //nolint:gochecknoglobals // a constant

// spanless reports whether ctx has no valid span. Comparing never panics: what noSpan is
// can be compared.
func spanless(ctx context.Context) bool {
	span := trace.SpanFromContext(ctx)
	return span == noSpan || !span.SpanContext().IsValid()
}

// inject is apart from Inject because what it hands to the propagator escapes.
func (t *Tracer) inject(ctx context.Context, dst Carrier) Carrier {
	added := dst[len(dst):]
	t.carry().Inject(ctx, &added)
	return fit(dst, added)
}

// extract returns ctx with the remote span and baggage of carrier.
func (t *Tracer) extract(ctx context.Context, carrier Carrier) context.Context {
	if !fits(carrier) {
		carrier = fit(nil, carrier)
	}
	return t.carry().Extract(ctx, &carrier)
}

func (p Pair) size() int { return len(p.Key) + len(p.Value) }

func fits(c Carrier) bool {
	total := 0
	for _, p := range c {
		total += p.size()
	}
	return len(c) <= MaxPairs && total <= MaxBytes
}

// fit appends to dst the pairs of added that the limits leave room for, by
// rank. It does not write to added's storage unless dst ends there.
func fit(dst, added Carrier) Carrier {
	whole := append(dst, added...)
	if fits(whole) {
		return whole
	}
	room := MaxBytes
	for _, p := range dst {
		room -= p.size()
	}
	kept := make(Carrier, 0, MaxPairs)
	for rank := range ranks {
		for _, p := range added {
			if rankOf(p.Key) == rank && p.size() <= room && len(dst)+len(kept) < MaxPairs {
				kept = append(kept, p)
				room -= p.size()
			}
		}
	}
	return append(dst, kept...)
}

// ranks is the number of ranks of rankOf.
const ranks = 3

// rankOf says what to keep first: a trace without its state goes on, the state
// without its trace is nothing.
func rankOf(key string) int {
	switch key {
	case "traceparent":
		return 0
	case "tracestate":
		return 1
	}
	return ranks - 1
}
