package trace

import (
	"context"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"
)

// Limits of a [Carrier], both for injection and for extraction. If not all pairs fit, the
// W3C traceparent has priority, then tracestate, then the other pairs in order.
const (
	// MaxPairs is the maximum number of pairs.
	MaxPairs = 16
	// MaxBytes is the maximum size of all keys and values together.
	MaxBytes = 8 << 10
)

// Pair is one key of a carrier, in lower case, with its value.
type Pair struct{ Key, Value string }

// Carrier is the trace context of a header: a few pairs in order. A *Carrier implements
// OpenTelemetry's TextMapCarrier.
type Carrier []Pair

// Get returns the value of the first pair with key, or "" if there is none.
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

// Inject appends the trace context and baggage of ctx to dst and returns the
// result. It returns dst unchanged if ctx has neither a valid span, local or
// remote, nor baggage; this costs two lookups in ctx and no allocation. It works
// with and without an SDK. Pairs that would exceed [MaxPairs] or [MaxBytes] are
// left out.
func (t *Tracer) Inject(ctx context.Context, dst Carrier) Carrier {
	if t == nil || spanless(ctx) && baggage.FromContext(ctx).Len() == 0 {
		return dst
	}
	return t.inject(ctx, dst)
}

// noSpan is the span of a context that has none. A comparison with it costs less than
// SpanContext, which returns a copy.
var noSpan = trace.SpanFromContext(context.Background()) //nolint:gochecknoglobals // a constant

// spanless reports whether ctx has no valid span. The comparison never panics, because the
// type of noSpan is comparable.
func spanless(ctx context.Context) bool {
	span := trace.SpanFromContext(ctx)
	return span == noSpan || !span.SpanContext().IsValid()
}

// inject is separate from Inject because the carrier it passes to the propagator escapes to the heap.
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

// fit appends to dst the pairs of added that fit into the limits, by rank. It
// does not write to added's storage unless dst shares it.
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

// rankOf returns the rank of a key; lower ranks are kept first. A traceparent is
// useful without its tracestate, but not the other way round.
func rankOf(key string) int {
	switch key {
	case "traceparent":
		return 0
	case "tracestate":
		return 1
	}
	return ranks - 1
}
