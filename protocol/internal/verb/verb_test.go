package verb

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestAnErrorSaysWhatBecomesOfATask(t *testing.T) {
	broken := errors.New("broken")
	tests := []struct {
		name  string
		err   error
		kind  Kind
		delay time.Duration
		text  string
	}{
		{"any error is a failure", broken, Retry, -1, "broken"},
		{"a retry has a delay", NewRetry(time.Second, broken), Retry, time.Second, "retry: broken"},
		{"a negative delay is none", NewRetry(-time.Second, broken), Retry, 0, "retry: broken"},
		{"a release has a reason", NewRelease("shutting down"), Release, 0, "release: shutting down"},
		{"a rejection has a cause", NewReject(broken), Reject, 0, "reject: broken"},
		{"a cause may be missing", NewReject(nil), Reject, 0, "reject: no cause was given"},
		{"an error may be wrapped", fmt.Errorf("handling: %w", NewReject(broken)), Reject, 0, "handling: reject: broken"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Of(tt.err)
			if got.Kind != tt.kind || got.Delay != tt.delay || got.Cause == nil || tt.err.Error() != tt.text {
				t.Errorf("kind %d, delay %v, cause %v, text %q; want kind %d, delay %v and %q", got.Kind, got.Delay, got.Cause, tt.err, tt.kind, tt.delay, tt.text)
			}
		})
	}
	if !errors.Is(NewRetry(0, broken), broken) {
		t.Error("a retry does not wrap its cause")
	}
}
