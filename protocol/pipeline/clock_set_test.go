package pipeline

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAClockDoesNotFollowThatOfTheSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		if !c.now().Equal(time.Now()) {
			t.Errorf("at first it says %v, want %v", c.now(), time.Now())
		}
		// This has the effect of setting the system clock back by an hour.
		c.wall += int64(time.Hour)
		before := c.now()
		<-time.After(time.Second)
		if d := c.now().Sub(before); d != time.Second || time.Until(before) < 59*time.Minute {
			t.Errorf("a second later it is %v later, and %v ahead of the system's", d, time.Until(before))
		}
	})
}
