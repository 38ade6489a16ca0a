package receive

import (
	"testing"
	"time"

	"github.com/linkmesh/link"
)

// TestRejoiningIsSpread checks that the backoff before rejoining has jitter, so that subscribers
// that lost a publisher together do not come back together.
func TestRejoiningIsSpread(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		most time.Duration
	}{
		"a publisher that is lost":        {link.Unavailable, 5 * time.Second},
		"a node without a publisher, yet": {link.Unimplemented, time.Second},
	} {
		for failures := 1; failures < 70; failures++ {
			most := min(50*time.Millisecond<<min(failures-1, 10), c.most)
			seen := map[time.Duration]bool{}
			for range 20 {
				d := pausesAfter(c.err).Pause(failures)
				if seen[d] = true; d <= most/2 || d > most {
					t.Errorf("%s: after %d failures it waits %v, want more than %v and at most %v", name, failures, d, most/2, most)
				}
			}
			if len(seen) < 2 {
				t.Errorf("%s: after %d failures everybody waits as long", name, failures)
			}
		}
	}
}
