package doctest_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/linkmesh/link/internal/doctest"
)

func TestProgramsInPagesCompile(t *testing.T) {
	base, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// overlay holds files that exist for one run of go build.
	overlay := struct{ Replace map[string]string }{make(map[string]string)}
	args := []string{"build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", dir + string(filepath.Separator)}
	for i, b := range blocks(t, "go") {
		if !b.Program() {
			continue
		}
		if strings.Contains(b.Text, "/internal/") {
			t.Errorf("%s: imports what users cannot", b)
		}
		file := filepath.Join(dir, fmt.Sprintf("block%d.go", i))
		if err := os.WriteFile(file, []byte("// "+b.String()+"\n\n"+b.Text), 0o600); err != nil {
			t.Fatal(err)
		}
		pkg := fmt.Sprintf("docs/block%d", i)
		overlay.Replace[filepath.Join(base, pkg, "block.go")] = file
		args = append(args, "./"+pkg)
	}
	// Without programs, the pages hold only fragments, which are text of files that compile.
	if len(overlay.Replace) == 0 {
		return
	}
	files, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), files, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
}

func TestFragmentsInPagesAreTextOfTheModule(t *testing.T) {
	var all strings.Builder
	for _, text := range files(t, ".go") {
		all.WriteString("\n" + doctest.Squeeze(text))
	}
	for _, b := range blocks(t, "go") {
		if !b.Program() && !strings.Contains(all.String(), "\n"+doctest.Squeeze(b.Text)) {
			t.Errorf("%s: no .go file holds this text:\n%s", b, b.Text)
		}
	}
}

// TestReadmeBeginsWithTheExample checks that README.md shows, as a program, the example of package link, which go test
// runs, and then what it prints.
func TestReadmeBeginsWithTheExample(t *testing.T) {
	all, err := doctest.Blocks("README.md", read(t, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(b doctest.Block) bool { return b.Lang == "go" })
	if i < 0 || i == len(all)-1 {
		t.Fatal("README.md has no Go block with a block after it")
	}
	example, comment, found := strings.Cut(read(t, "example_test.go"), "\t// Output:\n")
	if !found {
		t.Fatal("example_test.go does not say what the example prints")
	}
	program := strings.NewReplacer("package link_test\n", "package main\n", "func Example() {", "func main() {").Replace(example) + "}\n"
	if diff := cmp.Diff(program, all[i].Text); diff != "" {
		t.Errorf("the first Go block of README.md (+) is not the program of example_test.go (-):\n%s", diff)
	}
	if lines := strings.Count(program, "\n"); lines > 90 {
		t.Errorf("the first Go block of README.md has %d lines, want at most 90", lines)
	}
	output := strings.TrimSuffix(strings.ReplaceAll(comment, "\t// ", ""), "}\n")
	if diff := cmp.Diff(output, all[i+1].Text); diff != "" {
		t.Errorf("the block after the program in README.md (+) is not what it prints (-):\n%s", diff)
	}
}
