package clock_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link/internal/clock"
)

func TestNowGoesOnFromTheSystemsClock(t *testing.T) {
	t.Parallel()
	before := time.Now()
	now := clock.Now()
	if after := time.Now(); clock.Of(before) > now || now > clock.Of(after) {
		t.Errorf("Now = %d, not between %d before and %d after it", now, clock.Of(before), clock.Of(after))
	}
	later := before.Add(time.Hour)
	if got := clock.Of(later) - clock.Of(before); got != int64(time.Hour) {
		t.Errorf("an hour takes %v", time.Duration(got))
	}
}

func TestInABubbleItIsVirtual(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := clock.Now()
		if begin <= 0 {
			t.Errorf("Now = %d, want it above 0", begin)
		}
		<-time.After(time.Hour)
		if got := clock.Now() - begin; got != int64(time.Hour) {
			t.Errorf("an hour takes %v", time.Duration(got))
		}
	})
}
