package trace

import (
	"errors"
	"strings"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// describer is tracing.Describer, which package tracing declares for users.
type describer interface {
	error
	SpanDescription() string
}

// MaxDescription is the maximum length in bytes of an error's description in a span.
const MaxDescription = 256

// end sets the status attributes of the conventions and ends span.
func end(span trace.Span, code uint32, failed bool, err error) {
	if span == nil {
		return
	}
	if span.IsRecording() {
		name := codeName(code)
		span.SetAttributes(keyStatusCode.String(name))
		if failed {
			span.SetAttributes(keyErrorType.String(name))
			span.SetStatus(codes.Error, describe(err))
		}
	}
	span.End()
}

func describe(err error) (text string) {
	// The methods of an error are user code, which may panic.
	defer func() {
		if recover() != nil {
			text = ""
		}
	}()
	d, ok := errors.AsType[describer](err)
	if !ok {
		return ""
	}
	text = d.SpanDescription()
	if len(text) > MaxDescription {
		text = text[:MaxDescription]
	}
	return strings.ToValidUTF8(text, "")
}
