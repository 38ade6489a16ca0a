package backoff_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link/internal/backoff"
)

func TestPausesGrowUpToTheMost(t *testing.T) {
	second := time.Second
	tests := []struct {
		name     string
		b        backoff.Backoff
		failures int
		from, to time.Duration
	}{
		{"no failure", backoff.Backoff{Least: second, Most: 10 * second}, 0, second / 2, second},
		{"the first", backoff.Backoff{Least: second, Most: 10 * second}, 1, second / 2, second},
		{"doubled", backoff.Backoff{Least: second, Most: 10 * second}, 3, 2 * second, 4 * second},
		{"the most", backoff.Backoff{Least: second, Most: 10 * second}, 5, 5 * second, 10 * second},
		{"beyond what a float64 holds", backoff.Backoff{Least: second, Most: 10 * second}, math.MaxInt, 5 * second, 10 * second},
		{"own factor", backoff.Backoff{Least: second, Most: 100 * second, Factor: 3}, 3, 4500 * time.Millisecond, 9 * second},
		{"full jitter", backoff.Backoff{Least: second, Most: 10 * second, Jitter: 1}, 2, 0, 2 * second},
		{"the most is less than the least", backoff.Backoff{Least: second, Most: second / 2}, 1, second / 4, second / 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			least, most := time.Duration(math.MaxInt64), time.Duration(0)
			for range 1000 {
				d := test.b.Pause(test.failures)
				if d < test.from || d > test.to {
					t.Fatalf("a pause of %v, want %v to %v", d, test.from, test.to)
				}
				least, most = min(least, d), max(most, d)
			}
			// A thousand draws fill half of the range, but for one case in 10^300.
			if most-least < (test.to-test.from)/2 {
				t.Errorf("the pauses are from %v to %v: there is too little jitter", least, most)
			}
		})
	}
}

func TestWaitLastsAsLongAsThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := (backoff.Backoff{Least: time.Second, Most: time.Minute}).Wait(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d < time.Second || d > 2*time.Second {
			t.Errorf("it took %v, want 1 s to 2 s", d)
		}
	})
}

func TestSleepEndsWithItsContext(t *testing.T) {
	why := errors.New("closed")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(why) })
		began := time.Now()
		if err := backoff.Sleep(ctx, time.Minute); !errors.Is(err, why) {
			t.Errorf("got %v, want the cause", err)
		}
		if d := time.Since(began); d != time.Second {
			t.Errorf("it took %v, want 1 s", d)
		}
		if err := backoff.Sleep(ctx, 0); !errors.Is(err, why) {
			t.Errorf("with a context that has ended: got %v, want the cause", err)
		}
	})
	if err := backoff.Sleep(t.Context(), 0); err != nil {
		t.Errorf("no time: %v", err)
	}
}
