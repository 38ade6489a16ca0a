package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary act as its own server and client, as the command does.
func TestMain(m *testing.M) {
	if isChild(os.Args) {
		os.Exit(childMain(os.Args[2:]))
	}
	os.Exit(m.Run())
}

func TestARowComparesEveryPeerAndWritesTheResults(t *testing.T) {
	dir := t.TempDir()
	var out, progress bytes.Buffer
	args := []string{"-self", "quic", "-row", "unary/64B/c1", "-runs", "1", "-warm", "50ms", "-window", "100ms", "-out", dir}
	if err := run(t.Context(), args, &out, &progress); err != nil {
		t.Fatalf("run: %v\n%s", err, progress.String())
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	form := regexp.MustCompile(`^unary/64B/c1\t[a-z]+\t\d+\.\d\d\t\d+\.\d\d$`)
	var others []string
	for _, line := range lines {
		if !form.MatchString(line) {
			t.Errorf("line %q does not have the form %s", line, form)
		}
		others = append(others, strings.Split(line, "\t")[1])
	}
	field := allRows()[0].contestants("quic")
	if !slices.Equal(others, field[1:]) {
		t.Errorf("compared with %v, want %v", others, field[1:])
	}
	saved, err := os.ReadFile(filepath.Join(dir, "results.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range append(lines, "# CPU: ", "# UDP: GSO ") {
		if !strings.Contains(string(saved), want) {
			t.Errorf("results.tsv lacks %q:\n%s", want, saved)
		}
	}
	if text := progress.String(); strings.Count(text, "calls/s") != len(field) {
		t.Errorf("progress has not one line per peer:\n%s", text)
	}
}

func TestAllocationsOfAPeerAgainstItselfAreEqual(t *testing.T) {
	var out, progress bytes.Buffer
	if err := run(t.Context(), []string{"-self", "grpc", "-allocs"}, &out, &progress); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !regexp.MustCompile(`^allocs/64B\tgrpc\t(0\.9\d|1\.0\d)\n$`).MatchString(got) {
		t.Errorf("grpc against grpc is %q, want about 1", got)
	}
}

func TestRowsAreSelectedByNameGlobAndExpression(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		want    int
		first   string
	}{
		{"", 23, "unary/64B/c1"},
		{"unary/64B/c1", 1, "unary/64B/c1"},
		{"unary/*/c64", 3, "unary/64B/c64"},
		{"unary/(4KiB|1MiB)/c(16|64)", 4, "unary/4KiB/c16"},
		{".*", 23, "unary/64B/c1"},
		{"unary", 12, "unary/64B/c1"},
		{"unary/64B", 4, "unary/64B/c1"},
		{"pubsub", 9, "pubsub/64B/1to1"},
		{"pubsub/64B/1to4", 1, "pubsub/64B/1to4"},
		{"pubsub/(64B|1KiB)", 6, "pubsub/64B/1to1"},
		{"pubsub/*/1to32", 3, "pubsub/64B/1to32"},
	} {
		rows, err := selectRows(tt.pattern)
		if err != nil {
			t.Errorf("selectRows(%q): %v", tt.pattern, err)
		} else if len(rows) != tt.want || rows[0].name != tt.first {
			t.Errorf("selectRows(%q): %d rows from %s, want %d from %s", tt.pattern, len(rows), rows[0].name, tt.want, tt.first)
		}
	}
	for _, pattern := range []string{"unary/64", "pub", "["} {
		if rows, err := selectRows(pattern); err == nil {
			t.Errorf("selectRows(%q) = %v, want an error", pattern, rows)
		}
	}
}

// fixed is a caller that returns n zero bytes and err.
type fixed struct {
	n   int
	err error
}

func (f fixed) call(context.Context, []byte) ([]byte, error) { return make([]byte, f.n), f.err }
func (fixed) close() error                                   { return nil }

func TestALoadStopsAtTheFirstBadCall(t *testing.T) {
	broken := errors.New("broken")
	l := load{Size: 8, Conc: 4, Window: time.Hour}
	if _, err := drive(t.Context(), fixed{err: broken}, l); !errors.Is(err, broken) {
		t.Errorf("drive of a broken caller: %v, want %v", err, broken)
	}
	if _, err := drive(t.Context(), fixed{n: 7}, l); err == nil || !strings.Contains(err.Error(), "echo of 8 bytes has 7") {
		t.Errorf("drive of a short echo: %v", err)
	}
}

func TestPercentilesAreExact(t *testing.T) {
	var took []time.Duration
	for i := range 200 {
		took = append(took, time.Duration(i+1))
	}
	if got := percentile(took, 50); got != 100 {
		t.Errorf("p50 of 1…200 = %d, want 100", got)
	}
	if got := percentile(took, 99); got != 198 {
		t.Errorf("p99 of 1…200 = %d, want 198", got)
	}
	if got := percentile(took[:1], 99); got != 1 {
		t.Errorf("p99 of one value = %d, want it", got)
	}
}

func TestACallCutByTheWindowCountsForItsShare(t *testing.T) {
	at := func(d time.Duration) time.Time { return time.Unix(100, 0).Add(d) }
	for _, tt := range []struct{ start, end, want time.Duration }{
		{-2, -1, -1},
		{-2, 4, 4},
		{3, 5, 2},
		{8, 14, 2},
		{-5, 20, 10},
	} {
		if got := overlap(at(tt.start), at(tt.end), at(0), at(10)); got != tt.want {
			t.Errorf("overlap of [%d,%d] with [0,10] = %d, want %d", tt.start, tt.end, got, tt.want)
		}
	}
}

func TestSavedRowsStayUntilTheMachineChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.tsv")
	steps := []struct {
		head, line, want string
	}{
		{"# a\n", "unary/64B/c16\tgrpc\t2.00\t0.50", "# a\nunary/64B/c16\tgrpc\t2.00\t0.50\n"},
		{"# a\n", "unary/64B/c1\tgrpc\t1.00\t1.00", "# a\nunary/64B/c1\tgrpc\t1.00\t1.00\nunary/64B/c16\tgrpc\t2.00\t0.50\n"},
		{"# a\n", "unary/64B/c16\tgrpc\t3.00\t0.40", "# a\nunary/64B/c1\tgrpc\t1.00\t1.00\nunary/64B/c16\tgrpc\t3.00\t0.40\n"},
		{"# b\n", "unary/64B/c1\tgrpc\t4.00\t0.30", "# b\nunary/64B/c1\tgrpc\t4.00\t0.30\n"},
	}
	for i, step := range steps {
		if err := merge(file, step.head, "", []string{step.line}); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != step.want {
			t.Errorf("after step %d the file is\n%swant\n%s", i+1, got, step.want)
		}
	}
}
