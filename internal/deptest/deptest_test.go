package deptest_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/deptest"
)

// root is the folder of the module, seen from this package's tests.
const root = "../.."

// command runs a command in the root of the module and returns its output.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, out, exit.Stderr)
		}
		t.Fatal(err)
	}
	return string(out)
}

func TestGoModIsTidy(t *testing.T) {
	// The command fails if there is a difference.
	command(t, "go", "mod", "tidy", "-diff")
}

func TestEveryCheckedPackageIsOfThisModule(t *testing.T) {
	if got := strings.TrimSpace(command(t, "go", "list", "-m")); got != deptest.Module {
		t.Errorf("the module is %s, the rules are written for %s", got, deptest.Module)
	}
}
