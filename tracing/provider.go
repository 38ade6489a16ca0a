package tracing

import (
	"reflect"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// resolved is what a global provider turned out to be.
type resolved struct {
	provider trace.TracerProvider // a pointer, and so safe to compare
	tracer   trace.Tracer         // nil: no SDK
}

// current returns the tracer to start spans with, nil when no SDK is set.
func (t *Tracer) current() trace.Tracer {
	if t == nil || !t.global {
		return t.fixed()
	}
	provider := otel.GetTracerProvider()
	if r := t.resolved.Load(); r != nil && r.provider == provider {
		return r.tracer
	}
	return t.resolve(provider)
}

func (t *Tracer) fixed() trace.Tracer {
	if t == nil {
		return nil
	}
	return t.tracer
}

// resolve looks at a global provider that was not seen before. Comparing two
// interface values panics for some types, never for pointers: only pointers,
// which is what SDKs are, are remembered.
func (t *Tracer) resolve(provider trace.TracerProvider) trace.Tracer {
	if provider == nil || isNoop(provider) {
		return nil
	}
	r := &resolved{provider: provider}
	if !isPlaceholder(provider) {
		r.tracer = tracerOf(provider)
	}
	if reflect.TypeOf(provider).Kind() == reflect.Pointer {
		t.resolved.Store(r)
	}
	return r.tracer
}

// carry returns the propagator to use now.
func (t *Tracer) carry() propagation.TextMapPropagator {
	if t.propagator != nil {
		return t.propagator
	}
	if p := otel.GetTextMapPropagator(); p != nil && !isPlaceholder(p) {
		return p
	}
	return t.standard
}

func tracerOf(provider trace.TracerProvider) trace.Tracer {
	return provider.Tracer(scopeName, trace.WithSchemaURL(SchemaURL))
}

func isNoop(provider trace.TracerProvider) bool {
	switch provider.(type) {
	case noop.TracerProvider, *noop.TracerProvider:
		return true
	}
	return false
}

// placeholders is the package of the values that package otel returns until the
// program sets its own. It exports no other way to tell them apart; a test holds
// the name to the version in use.
const placeholders = "go.opentelemetry.io/otel/internal/global"

func isPlaceholder(v any) bool {
	t := reflect.TypeOf(v)
	return t.Kind() == reflect.Pointer && t.Elem().PkgPath() == placeholders
}
