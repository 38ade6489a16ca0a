package shell_test

import (
	"os"
	"slices"
	"testing"

	"github.com/linkmesh/link/internal/shell"
)

func TestForgetLeavesTheRest(t *testing.T) {
	t.Setenv("LINK_TAGS", "v9")
	t.Setenv("CONSUL_HTTP_TOKEN", "t")
	t.Setenv("LINK_SOME_TEST_CHILD", "1")
	if got := shell.Without([]string{"A=1", "LINK_TAGS=v9", "CONSUL_CACERT=x", "LINK_SOME_TEST_CHILD=1"}); !slices.Equal(got, []string{"A=1", "LINK_SOME_TEST_CHILD=1"}) {
		t.Errorf("without them: %q", got)
	}
	shell.Forget()
	for _, name := range append(shell.Variables(), "CONSUL_HTTP_TOKEN") {
		if value, ok := os.LookupEnv(name); ok {
			t.Errorf("%s is still %q", name, value)
		}
	}
	if os.Getenv("LINK_SOME_TEST_CHILD") != "1" {
		t.Error("what a test says to its child is gone")
	}
}
