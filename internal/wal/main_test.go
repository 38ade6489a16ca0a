//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package wal

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// childEnv makes the test binary the other process of a test.
const childEnv = "LINK_WAL_CHILD"

// TestMain checks for leaked goroutines.
func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		os.Exit(runChild(role, os.Args[1]))
	}
	goleak.VerifyTestMain(m)
}
