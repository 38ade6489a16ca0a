package pubsub_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sleep lets virtual time pass.
func sleep(d time.Duration) { <-time.After(d) }
