package integration

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/linkmesh/link/internal/shell"
)

// TestMain checks for leaked goroutines. The binary also serves as the other process of a test.
func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(runChild())
	}
	if err := runTogether(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	shell.Forget()
	goleak.VerifyTestMain(m)
}

// together is how many tests run at once. They wait most of the time, so it is more than there are
// processors; each has an agent of about 100 MB.
const together = "12"

// runTogether sets that, unless the command line has -parallel.
func runTogether() error {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if chosen {
		return nil
	}
	return flag.Set("test.parallel", together)
}
