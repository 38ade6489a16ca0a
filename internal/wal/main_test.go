package wal

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// childEnv makes the test binary the other process of a test.
const childEnv = "LINK_WAL_CHILD"

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		os.Exit(runChild(role))
	}
	goleak.VerifyTestMain(m)
}
