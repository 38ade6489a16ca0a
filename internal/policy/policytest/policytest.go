// Package policytest has what the tests of packages topology and policy share: documents, and golden files.
package policytest

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

	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/topology"
)

var update = flag.Bool("update", false, "write the golden files") //nolint:gochecknoglobals // a flag of go test

// Full is a document that uses every field.
const Full = `
version: link/v1
services:
  orders:
    subsets:
      stable: { tags: [v1] }
      canary: { tags: [v2, eu], meta: { size: 1.10 } }
    routes:
      - { match: { meta: { x-canary: "1" }, caller: billing }, to: canary }
      - { match: { method: orders/Export*, caller: [billing, web] }, to: stable, timeout: 30s, retry: { attempts: 1 }, failover: [] }
      - { match: { topic: placed }, to: service:orders-events }
      - { match: { stage: pack } }
      - { to: { stable: 95, canary: 5, any: 0 }, sticky: meta:user-id, failover: [dc, any] }
    failover: [zone, region, subset:stable, service:orders-dr]
    timeout: 3s
    retry: { budget: 10% }
    lb: { policy: hash, key: meta:cart, zone_aware: false, panic: 0, slow_start: 0s, subset: 0 }
    outlier: { errors: 7, interval: 5s, eject: 1m, max: 0% }
    mirror: { to: service:orders-shadow, percent: 0.5 }
    fault: { delay: 200ms, abort: unavailable, percent: 1 }
  plain: {}
defaults: { timeout: 5s, retry: { attempts: 2, budget: 20%, on: [unavailable] }, zone_aware: true }
`

// Parsed parses a document that must be valid.
func Parsed(tb testing.TB, text string) *topology.Document {
	tb.Helper()
	doc, err := topology.Parse("topology.yaml", []byte(text))
	if err != nil {
		tb.Fatalf("Parse: %v\n%s", err, text)
	}
	return doc
}

// Compiled returns the policy of one trusted document, with faults allowed.
func Compiled(tb testing.TB, text string) *policy.Policy {
	tb.Helper()
	return CompiledDocument(tb, Parsed(tb, text))
}

// CompiledDocument is [Compiled] for a document that is not text.
func CompiledDocument(tb testing.TB, doc *topology.Document) *policy.Policy {
	tb.Helper()
	p, err := policy.Compile(policy.Options{AllowFaults: true}, policy.Layer{Document: doc, Trusted: true})
	if err != nil {
		tb.Fatalf("Compile: %v", err)
	}
	return p
}

// Of returns a document with the single service orders.
func Of(s topology.Service) *topology.Document {
	return &topology.Document{Services: map[string]topology.Service{"orders": s}}
}

// Service returns the text of a document about service orders with three subsets and the given lines.
func Service(lines string) string {
	return "version: link/v1\nservices:\n  orders:\n    subsets: { stable: { tags: [v1] }, canary: { tags: [v2] }, big: { meta: { size: big } } }\n    " +
		strings.ReplaceAll(strings.TrimSpace(lines), "\n", "\n    ") + "\n"
}

// Golden runs the cases of a txtar archive. A case is a file whose name ends in suffix, and the
// result of check must equal the file with the ending .out. With -update, Golden writes the results.
func Golden(t *testing.T, name, suffix string, check func(t *testing.T, data []byte) string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	data, err := os.ReadFile(path) //nolint:gosec // a file of the test
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

// ManyServices returns n entries of a flow mapping.
func ManyServices(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "s%d: {}, ", i)
	}
	return b.String()
}

// ExportAll makes cmp compare unexported fields, too.
func ExportAll() cmp.Option { return cmp.Exporter(func(reflect.Type) bool { return true }) }
