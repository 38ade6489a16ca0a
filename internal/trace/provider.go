package trace

import (
	"reflect"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// resolved caches the tracer of a global provider.
type resolved struct {
	// provider is always a pointer, which is safe to compare.
	provider trace.TracerProvider

	// tracer is nil if the provider is not an SDK.
	tracer trace.Tracer
}

// current returns the tracer to start spans with, or nil if no SDK is set.
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

// resolve returns the tracer of a global provider that is not cached. It caches
// only pointers, because a comparison of interface values panics for some other
// types. Providers of SDKs are pointers.
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

// carry returns the propagator to use: the configured one, the global one, or the standard one.
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
// program sets its own. Package otel exports no other way to detect them. A test
// checks the name against the version in use.
const placeholders = "go.opentelemetry.io/otel/internal/global"

func isPlaceholder(v any) bool {
	t := reflect.TypeOf(v)
	return t.Kind() == reflect.Pointer && t.Elem().PkgPath() == placeholders
}
