package pipeline_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/linkmesh/link/internal/child"
	"github.com/linkmesh/link/internal/shell"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		os.Exit(runChild(dir))
	}
	if child.Role() == works {
		if err := childWorks(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	shell.Forget()
	goleak.VerifyTestMain(m)
}

// sleep lets virtual time pass.
func sleep(d time.Duration) { <-time.After(d) }
