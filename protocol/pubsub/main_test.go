package pubsub_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/linkmesh/link/internal/child"
	"github.com/linkmesh/link/internal/shell"
)

// TestMain checks for leaked goroutines. The binary also serves as the child process of a test.
func TestMain(m *testing.M) {
	if role := child.Role(); role != "" {
		childMain(role)
		return
	}
	shell.Forget()
	goleak.VerifyTestMain(m)
}

// sleep lets virtual time pass.
func sleep(d time.Duration) { <-time.After(d) }
