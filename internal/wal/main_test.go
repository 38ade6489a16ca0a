//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package wal

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// childEnv is the environment variable that makes the test binary the child process of a test.
const childEnv = "LINK_WAL_CHILD"

// TestMain checks for leaked goroutines, except in a child process.
func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		os.Exit(runChild(role, os.Args[1]))
	}
	goleak.VerifyTestMain(m)
}
