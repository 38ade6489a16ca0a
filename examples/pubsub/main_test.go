package main_test

import (
	"strconv"
	"testing"

	"github.com/linkmesh/link/internal/exampletest"
)

func TestWhatASubscriberReceivesAndMissesIsEverything(t *testing.T) {
	found := exampletest.Prints(t,
		`best effort: received (\d+), missed (\d+), in all 8000`,
		`reliable: received 8000, missed 0, in all 8000`,
	)
	received, err1 := strconv.Atoi(found[0])
	missed, err2 := strconv.Atoi(found[1])
	// What is in flight is received besides the 1,024 that are kept, so the number is not fixed.
	if err1 != nil || err2 != nil || received < 1024 || missed == 0 || received+missed != 8000 {
		t.Errorf("the subscription that falls behind received %d and missed %d of 8,000", received, missed)
	}
}
