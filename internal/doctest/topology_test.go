package doctest_test

import (
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/topology"
)

// TestTopologiesInPagesAreInForce parses and compiles every YAML block as a topology.
func TestTopologiesInPagesAreInForce(t *testing.T) {
	all := blocks(t, "yaml")
	if len(all) == 0 {
		t.Error("no page shows a topology")
	}
	for _, b := range all {
		doc, err := topology.Parse(b.File, []byte(b.Text))
		if err == nil {
			_, err = policy.Compile(policy.Options{AllowFaults: true}, policy.Layer{Document: doc, Trusted: true})
		}
		if err != nil {
			t.Errorf("%s: %v", b, err)
		}
	}
}

// TestReadmeShowsTheTopologyThatIsExplained checks that README.md shows the file of
// the example of package policy, and what Explain prints there.
func TestReadmeShowsTheTopologyThatIsExplained(t *testing.T) {
	page, example := read(t, "README.md"), read(t, "internal/policy/example_test.go")
	file := read(t, "topology/testdata/readme.yaml")
	if !strings.Contains(page, "```yaml\n"+file+"```") {
		t.Errorf("README.md does not show topology/testdata/readme.yaml:\n%s", file)
	}
	if lines := strings.Count(file, "\n"); lines > 11 {
		t.Errorf("the file has %d lines, want about 10", lines)
	}
	_, output, _ := strings.Cut(example, "// Output:\n")
	output, _, _ = strings.Cut(output, "}\n")
	var b strings.Builder
	for line := range strings.Lines(strings.TrimSuffix(output, "\n")) {
		b.WriteString(strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(line), "//"), " ") + "\n")
	}
	if !strings.Contains(page, "```text\n"+b.String()+"```") {
		t.Errorf("README.md does not show what the first example of internal/policy prints:\n%s", b.String())
	}
}
