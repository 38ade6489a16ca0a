package fleet_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link/internal/backoff"
	"github.com/linkmesh/link/protocol/internal/fleet"
)

// TestRejoiningIsSpread measures the pauses between attempts that fail at once, and checks that they grow up
// to their bound and have jitter, so that all who lost an instance together do not come back together.
func TestRejoiningIsSpread(t *testing.T) {
	const attempts = 16
	for name, c := range map[string]struct {
		verdict     fleet.Verdict
		least, most time.Duration
	}{
		"as a rule":            {fleet.Verdict{}, 50 * time.Millisecond, 5 * time.Second},
		"a lower bound":        {fleet.Verdict{Pauses: backoff.Backoff{Least: 50 * time.Millisecond, Most: time.Second}}, 50 * time.Millisecond, time.Second},
		"long from the outset": {fleet.Verdict{Pauses: backoff.Backoff{Least: 5 * time.Second, Most: 5 * time.Second}}, 5 * time.Second, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const members = 20
				p := newPort(t)
				p.judge = func(*ship, error, int) fleet.Verdict { return c.verdict }
				var times [members][]time.Time
				p.open = func(ctx context.Context, m *ship) error {
					at := m.ID[0] - 'a'
					times[at] = append(times[at], time.Now())
					if len(times[at]) <= attempts {
						return errLost
					}
					<-ctx.Done()
					return context.Cause(ctx)
				}
				var ids []string
				for i := range members {
					ids = append(ids, string(rune('a'+i)))
				}
				p.update("s", ids...)
				sleep(10 * time.Minute)
				synctest.Wait()
				for n := range attempts {
					most := min(c.least<<n, c.most)
					seen := make(map[time.Duration]bool)
					for i := range members {
						d := times[i][n+1].Sub(times[i][n])
						if seen[d] = true; d < most/2 || d > most {
							t.Errorf("after %d failures it waits %v, want %v to %v", n+1, d, most/2, most)
						}
					}
					if len(seen) < 2 {
						t.Errorf("after %d failures all wait as long", n+1)
					}
				}
			})
		})
	}
}

// TestALongStreamEndsARowOfFailures checks from which length of a stream on the pauses begin anew.
func TestALongStreamEndsARowOfFailures(t *testing.T) {
	for lasted, want := range map[time.Duration]int{5 * time.Second: 4, 5*time.Second + 1: 1} {
		t.Run(lasted.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPort(t)
				var row int
				p.judge = func(_ *ship, _ error, failures int) fleet.Verdict {
					row = failures
					return fleet.Verdict{}
				}
				p.open = func(ctx context.Context, m *ship) error {
					switch m.attempts.Load() {
					case 1, 2, 3:
						return errLost
					case 4:
						sleep(lasted)
						return nil
					default:
						<-ctx.Done()
						return context.Cause(ctx)
					}
				}
				p.update("s", "a")
				sleep(time.Minute)
				synctest.Wait()
				if row != want {
					t.Errorf("%d failures in a row, want %d", row, want)
				}
			})
		})
	}
}
