package link

import (
	"math"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/wire"
)

// TestRetryAfterDoesNotOverflow checks that no value of a peer makes RetryAfter negative, which
// would have the peer called again at once.
func TestRetryAfterDoesNotOverflow(t *testing.T) {
	for said, want := range map[uint64]time.Duration{
		0:                           0,
		1500:                        1500 * time.Millisecond,
		maxRetryAfter:               maxRetryAfter * time.Millisecond,
		math.MaxInt64 / 1_000_000:   maxRetryAfter * time.Millisecond,
		math.MaxInt64/1_000_000 + 1: maxRetryAfter * time.Millisecond,
		math.MaxUint64:              maxRetryAfter * time.Millisecond,
	} {
		if got := fromStatus(&wire.Status{Code: uint64(Unavailable), RetryAfter: said}, "orders").RetryAfter; got != want {
			t.Errorf("%d ms: %v, want %v", said, got, want)
		}
	}
}
