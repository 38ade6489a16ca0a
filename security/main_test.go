package security_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/linkmesh/link/security"
)

// envDevRoot makes the test binary print the root of its dev source and exit. TestProcessesAgreeOnTheDevSecret uses it.
const envDevRoot = "LINK_TEST_PRINT_DEV_ROOT"

func TestMain(m *testing.M) {
	if os.Getenv(envDevRoot) != "" {
		os.Exit(printDevRoot())
	}
	goleak.VerifyTestMain(m)
}

func printDevRoot() int {
	src, err := security.NewDevSource("orders", "")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	bundle, err := src.Bundle(security.DevTrustDomain)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_, _ = fmt.Fprintf(os.Stdout, "%x", bundle.Roots()[0].Raw)
	return 0
}
