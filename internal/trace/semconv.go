package trace

import (
	"go.opentelemetry.io/otel/attribute"

	"github.com/linkmesh/link/internal/codes"
)

// SchemaURL identifies the version of the OpenTelemetry semantic conventions that
// the names in this file follow. No other file of the package has such names.
const SchemaURL = "https://opentelemetry.io/schemas/1.43.0"

// OtherMethod is the method name of calls to methods that are not registered.
const OtherMethod = "_OTHER"

// scopeName is the instrumentation scope of every span: the package that users know.
const scopeName = "github.com/linkmesh/link/tracing"

// Attributes of the conventions.
const (
	keySystem      = attribute.Key("rpc.system.name")
	keyMethod      = attribute.Key("rpc.method")
	keyStatusCode  = attribute.Key("rpc.response.status_code")
	keyErrorType   = attribute.Key("error.type")
	keyPeerService = attribute.Key("service.peer.name")

	keyMessaging   = attribute.Key("messaging.system")
	keyOperation   = attribute.Key("messaging.operation.name")
	keyDestination = attribute.Key("messaging.destination.name")
	keyBatch       = attribute.Key("messaging.batch.message_count")
)

// Messaging operations. Each is the prefix of the names of its spans.
const (
	operationSend    = "send"
	operationProcess = "process"
)

// Link's own names, for which the conventions have no equivalent.
const (
	systemName   = "link"
	eventAttempt = "rpc.attempt"
	keyAttempt   = attribute.Key("link.attempt.number")
	keyInstance  = attribute.Key("link.peer.instance")
)

func system() attribute.KeyValue { return keySystem.String(systemName) }

func messagingSystem() attribute.KeyValue { return keyMessaging.String(systemName) }

// Status codes with gRPC's numbers.
const (
	codeOK               = 0
	codeUnknown          = 2
	codeDeadlineExceeded = 4
	codeUnimplemented    = 12
	codeInternal         = 13
	codeUnavailable      = 14
	codeDataLoss         = 15
)

// codeName returns the name of a code as in the conventions for gRPC.
func codeName(code uint32) string { return codes.Upper(code) }

// isServerError reports whether a server span with code is an error. An undefined
// code is treated like Unknown.
func isServerError(code uint32) bool {
	switch code {
	case codeUnknown, codeDeadlineExceeded, codeUnimplemented, codeInternal, codeUnavailable, codeDataLoss:
		return true
	}
	return code > codes.Highest
}
