package trace

import (
	"strings"
	"testing"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// TestNamesArePinnedToTheConventions pins the names of attributes. If the conventions rename one, change it here and in
// semconv.go.
func TestNamesArePinnedToTheConventions(t *testing.T) {
	tests := []struct {
		got, want string
		// published is the name in the conventions' package, or "" for link's own names.
		published string
	}{
		{SchemaURL, "https://opentelemetry.io/schemas/1.43.0", semconv.SchemaURL},
		{string(keySystem), "rpc.system.name", string(semconv.RPCSystemNameKey)},
		{string(keyMethod), "rpc.method", string(semconv.RPCMethodKey)},
		{string(keyStatusCode), "rpc.response.status_code", string(semconv.RPCResponseStatusCodeKey)},
		{string(keyErrorType), "error.type", string(semconv.ErrorTypeKey)},
		{string(keyPeerService), "service.peer.name", string(semconv.ServicePeerNameKey)},
		{string(keyMessaging), "messaging.system", string(semconv.MessagingSystemKey)},
		{string(keyOperation), "messaging.operation.name", string(semconv.MessagingOperationNameKey)},
		{string(keyDestination), "messaging.destination.name", string(semconv.MessagingDestinationNameKey)},
		{string(keyBatch), "messaging.batch.message_count", string(semconv.MessagingBatchMessageCountKey)},
		{OtherMethod, "_OTHER", ""},
		{systemName, "link", ""},
		{eventAttempt, "rpc.attempt", ""},
		{string(keyAttempt), "link.attempt.number", ""},
		{string(keyInstance), "link.peer.instance", ""},
		{scopeName, "github.com/linkmesh/link/tracing", ""},
	}
	for _, tt := range tests {
		if tt.got != tt.want || tt.published != "" && tt.published != tt.want {
			t.Errorf("name is %q, pinned as %q, published as %q", tt.got, tt.want, tt.published)
		}
	}
}

// statuses returns the table of all codes: the name, and whether a server span
// with the code is an error. A client span is an error with every code but OK.
func statuses() []struct {
	name        string
	serverError bool
} {
	return []struct {
		name        string
		serverError bool
	}{
		{"OK", false},
		{"CANCELLED", false}, //nolint:misspell // gRPC's spelling
		{"UNKNOWN", true},
		{"INVALID_ARGUMENT", false},
		{"DEADLINE_EXCEEDED", true},
		{"NOT_FOUND", false},
		{"ALREADY_EXISTS", false},
		{"PERMISSION_DENIED", false},
		{"RESOURCE_EXHAUSTED", false},
		{"FAILED_PRECONDITION", false},
		{"ABORTED", false},
		{"OUT_OF_RANGE", false},
		{"UNIMPLEMENTED", true},
		{"INTERNAL", true},
		{"UNAVAILABLE", true},
		{"DATA_LOSS", true},
		{"UNAUTHENTICATED", false},
	}
}

func TestCodeNames(t *testing.T) {
	for code, want := range statuses() {
		if got := codeName(uint32(code)); got != want.name {
			t.Errorf("codeName(%d) = %q, want %q", code, got, want.name)
		}
	}
	if got := codeName(4294967295); got != "4294967295" || !isServerError(17) {
		t.Errorf("an unknown code is %q and a server error %v", got, isServerError(17))
	}
}

func TestDescriptionsAreBounded(t *testing.T) {
	for _, text := range []string{"short", strings.Repeat("é", MaxDescription), "bad \xff utf8"} {
		got := describe(described{text})
		if len(got) > MaxDescription || strings.ToValidUTF8(got, "") != got || !strings.HasPrefix(got, text[:3]) {
			t.Errorf("describe(%.20q) = %q", text, got)
		}
	}
}

type described struct{ text string }

func (d described) Error() string           { return "dial 10.0.0.1:4433 with token s3cret" }
func (d described) SpanDescription() string { return d.text }
