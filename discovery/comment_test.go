package discovery_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/bounds"
)

// TestTheCommentsTellTheBounds checks that the comments where users look have the numbers of package bounds.
func TestTheCommentsTellTheBounds(t *testing.T) {
	instances := fmt.Sprintf("%d,%03d", bounds.MaxInstances/1000, bounds.MaxInstances%1000)
	services := fmt.Sprintf("at most %d ", bounds.MaxServices)
	for file, want := range map[string]string{
		"snapshot.go":      "There are at most " + instances + ":",
		"static/static.go": "more than " + instances + " of one service",
		"static/parse.go":  "More than " + instances + " addresses of one service",
		"find.go":          services + "names",
		"list.go":          services + "of them",
		"policy.go":        fmt.Sprintf("at most %d KiB", bounds.MaxPolicy>>10),
		"../host.go":       services + "names",
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		comments := strings.NewReplacer("\n// ", " ", "\n\t// ", " ").Replace(string(text))
		if !strings.Contains(comments, want) {
			t.Errorf("%s does not say %q", file, want)
		}
	}
}
