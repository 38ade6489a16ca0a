package doctest_test

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/linkmesh/link/internal/doctest"
)

var update = flag.Bool("update", false, "write the table of measurements in README.md anew")

// measured returns the results that the table must show: those of the last
// commit, because make bench-peers rewrites the file. With -update, or outside of
// a repository, it returns those of the file.
func measured(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "show", "HEAD:bench/results.tsv")
	cmd.Dir = root
	if out, err := cmd.Output(); err == nil && !*update {
		return string(out)
	}
	return read(t, "bench/results.tsv")
}

// TestReadmeSaysWhatWasMeasured checks that the table of README.md shows bench/results.tsv.
func TestReadmeSaysWhatWasMeasured(t *testing.T) {
	table, err := doctest.Table(measured(t))
	if err != nil {
		t.Fatalf("bench/results.tsv: %v", err)
	}
	page := read(t, "README.md")
	want, err := doctest.ReplaceTable(page, table)
	if err != nil {
		t.Fatalf("README.md: %v", err)
	}
	if *update {
		if err := os.WriteFile(filepath.Join(root, "README.md"), []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, page); diff != "" {
		t.Errorf("README.md (+) does not say what bench/results.tsv (-) says; run go test ./internal/doctest -update\n%s", diff)
	}
}

func TestTableShowsWhatIsMissing(t *testing.T) {
	got, err := doctest.Table("# CPU: fast, 2 cores\n# system: linux/amd64, kernel 6\n# Go: go1.26\n# last run: 2026-11-21 04:17 UTC\n" +
		"unary/64B/c16\tgrpc\t1.50\t0.40\nother/row\tgrpc\t9\t9\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| unary call | link / gRPC-Go | link / rpcx | link / quic-go |\n| --- | --- | --- | --- |\n",
		"| 64 B, 1 call in flight | – | – | – |\n",
		"| 64 B, 16 in flight | 1.50 (0.40) | – | – |\n",
		"\n\nfast, 2 cores; linux/amd64; go1.26; 2026-11-21.\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "9") {
		t.Errorf("a row that the table does not have is in\n%s", got)
	}
	if _, err := doctest.Table("unary/64B/c16\tgrpc\t1.50\n"); err == nil {
		t.Error("a line that lacks a field gives no error")
	}
}

func TestTableReplacesWhatWasThere(t *testing.T) {
	const begin, end = "<!-- bench: from bench/results.tsv by `go test ./internal/doctest -update` -->\n", "<!-- /bench -->\n"
	got, err := doctest.ReplaceTable("a\n"+begin+"old\n"+end+"b\n", "new\n")
	if want := "a\n" + begin + "new\n" + end + "b\n"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	for _, page := range []string{"", begin, end, end + begin} {
		if _, err := doctest.ReplaceTable(page, "new\n"); err == nil {
			t.Errorf("page %q: no error", page)
		}
	}
}
