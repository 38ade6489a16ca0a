package main_test

import (
	"testing"

	"github.com/linkmesh/link/internal/exampletest"
)

func TestOneUserInTenGetsTheNewVersionAndAllWhenTheOldEnds(t *testing.T) {
	exampletest.Prints(t,
		// Who gets which is decided by hashes of the users, so it is the same each time.
		`9\d\d users got v1, \d\d got v2`,
		`0 users got v1, 1000 got v2`,
		`method orders/version from client`,
		`routes\[0\]: to stable 90%, canary 10%; sticky meta:user "7" -> stable`,
		`levels:`,
		` +1  stable +0 of \d available`,
		` +2  canary +1 of 1 available +<- picked here \(p2c\)`,
		`instances:`,
		// For a moment, v1 may still be shown as an instance that drains.
		`(?: +orders-\w+ +127\.0\.0\.1:\d+ +v1 +no +.*\n)? +orders-\w+ +127\.0\.0\.1:\d+ +v2 +yes +level 2; connected.*`,
	)
}
