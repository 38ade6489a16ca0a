package topology_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/linkmesh/link/topology"
)

var update = flag.Bool("update", false, "write the golden files")

// parsed parses a document that must be valid.
func parsed(tb testing.TB, text string) *topology.Document {
	tb.Helper()
	doc, err := topology.Parse("topology.yaml", []byte(text))
	if err != nil {
		tb.Fatalf("Parse: %v\n%s", err, text)
	}
	return doc
}

// compiled returns the policy of one trusted document, with faults allowed.
func compiled(tb testing.TB, text string) *topology.Policy {
	tb.Helper()
	return compiledDoc(tb, parsed(tb, text))
}

func compiledDoc(tb testing.TB, doc *topology.Document) *topology.Policy {
	tb.Helper()
	p, err := topology.Compile(topology.Options{AllowFaults: true}, topology.Layer{Document: doc, Trusted: true})
	if err != nil {
		tb.Fatalf("Compile: %v", err)
	}
	return p
}

// service returns a document about service orders with three subsets and the given lines.
func service(lines string) string {
	return "version: link/v1\nservices:\n  orders:\n    subsets: { stable: { tags: [v1] }, canary: { tags: [v2] }, big: { meta: { size: big } } }\n    " +
		strings.ReplaceAll(strings.TrimSpace(lines), "\n", "\n    ") + "\n"
}

// golden runs the cases of a txtar archive. A case is a file whose name ends in suffix, and the
// result of check must equal the file with the ending .out. With -update, golden writes the results.
func golden(t *testing.T, name, suffix string, check func(t *testing.T, data []byte) string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	archive := txtar.Parse(data)
	want := map[string]string{}
	for _, f := range archive.Files {
		want[f.Name] = string(f.Data)
	}
	written := &txtar.Archive{Comment: archive.Comment}
	cases := 0
	for _, f := range archive.Files {
		base, ok := strings.CutSuffix(f.Name, suffix)
		if !ok {
			continue
		}
		cases++
		t.Run(base, func(t *testing.T) {
			got := check(t, f.Data)
			if !strings.HasSuffix(got, "\n") {
				got += "\n"
			}
			out := base + ".out"
			written.Files = append(written.Files, f, txtar.File{Name: out, Data: []byte(got)})
			if !*update && got != want[out] {
				t.Errorf("got:\n%s\nwant:\n%s", got, want[out])
			}
		})
	}
	if cases == 0 {
		t.Fatalf("%s has no cases", path)
	}
	if *update {
		if err := os.WriteFile(path, txtar.Format(written), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// manyServices returns n entries of a flow mapping.
func manyServices(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "s%d: {}, ", i)
	}
	return b.String()
}

// exportAll makes cmp compare unexported fields, too.
func exportAll() cmp.Option { return cmp.Exporter(func(reflect.Type) bool { return true }) }
