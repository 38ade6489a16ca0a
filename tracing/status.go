package tracing

import (
	"errors"
	"strings"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// Describer is implemented by errors that have a text fit for a span: written to
// be shown, free of addresses, tokens and bodies. Of other errors a span shows the
// code alone, since their text may hold anything. [errors.As] finds it.
type Describer interface {
	error
	// SpanDescription is cut at [MaxDescription] bytes.
	SpanDescription() string
}

// MaxDescription is the most bytes of an error's description that a span shows.
const MaxDescription = 256

// end sets what the conventions ask for and ends span.
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
	defer func() {
		if recover() != nil { // the methods of an error are the user's code
			text = ""
		}
	}()
	d, ok := errors.AsType[Describer](err)
	if !ok {
		return ""
	}
	text = d.SpanDescription()
	if len(text) > MaxDescription {
		text = text[:MaxDescription]
	}
	return strings.ToValidUTF8(text, "")
}
