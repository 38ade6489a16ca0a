package deptest_test

import (
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/linkmesh/link/internal/deptest"
)

// packages returns every package of the module.
func packages(t *testing.T) []deptest.Package {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(
		command(t, "go", "list", "-json=ImportPath,Imports,TestImports,XTestImports,Deps", "./...")))
	var all []deptest.Package
	for {
		var p deptest.Package
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImportsGoOneWay(t *testing.T) {
	all := packages(t)
	if !slices.ContainsFunc(all, func(p deptest.Package) bool { return p.ImportPath == deptest.Module+"/internal/deptest" }) {
		t.Fatal("go list does not see the module")
	}
	for _, complaint := range deptest.Check(all, deptest.Rules()) {
		t.Error(complaint)
	}
}

func TestForbiddenImportsAreFound(t *testing.T) {
	const m = deptest.Module
	for _, tt := range []struct {
		name string
		pkg  deptest.Package
		// want is part of the only complaint, or empty if there must be none.
		want string
	}{
		{"QUIC outside the transport", deptest.Package{ImportPath: m + "/cmd/link", Imports: []string{"github.com/quic-go/quic-go"}}, "only internal/transport"},
		{"QUIC deep below identity", deptest.Package{ImportPath: m + "/security", Deps: []string{"github.com/quic-go/quic-go/quicvarint"}}, "do not need a network"},
		{"QUIC in a test", deptest.Package{ImportPath: m, XTestImports: []string{"github.com/quic-go/quic-go/testutils/simnet"}}, "only internal/transport"},
		{"QUIC in sessions", deptest.Package{ImportPath: m + "/internal/transport", Imports: []string{"github.com/quic-go/quic-go"}}, "sessions know no QUIC"},
		{"QUIC in tests of sessions", deptest.Package{ImportPath: m + "/internal/transport", TestImports: []string{"github.com/quic-go/quic-go"}}, ""},
		{"QUIC behind its door", deptest.Package{ImportPath: m + "/internal/transport/quicconn", Imports: []string{"github.com/quic-go/quic-go"}}, ""},
		{"connections in memory in the product", deptest.Package{ImportPath: m + "/internal/transport", Imports: []string{m + "/internal/transport/memconn"}}, "for tests"},
		{"QUIC in the socket", deptest.Package{ImportPath: m + "/internal/udp", TestImports: []string{"github.com/quic-go/quic-go"}}, "only internal/transport"},
		{"a package of link in the socket", deptest.Package{ImportPath: m + "/internal/udp", Imports: []string{m + "/internal/wire"}}, "knows no QUIC"},
		{"OpenTelemetry in link", deptest.Package{ImportPath: m, Imports: []string{"go.opentelemetry.io/otel/trace"}}, "only tracing and internal/trace"},
		{"OpenTelemetry in a test of link", deptest.Package{ImportPath: m, XTestImports: []string{"go.opentelemetry.io/otel/sdk/trace"}}, ""},
		{"OpenTelemetry behind its door", deptest.Package{ImportPath: m + "/internal/trace", Imports: []string{"go.opentelemetry.io/otel/trace"}}, ""},
		{"Consul in discovery", deptest.Package{ImportPath: m + "/discovery", Imports: []string{"github.com/hashicorp/consul/api"}}, "only discovery/consul"},
		{"Consul behind its door", deptest.Package{ImportPath: m + "/discovery/consul", Imports: []string{"github.com/hashicorp/consul/api"}}, ""},
		{"a library in the wire", deptest.Package{ImportPath: m + "/internal/wire", Imports: []string{"github.com/fxamacker/cbor/v2"}}, "standard library only"},
		{"YAML in topology", deptest.Package{ImportPath: m + "/topology", Imports: []string{"go.yaml.in/yaml/v3", "slices"}}, ""},
		{"a hash in topology", deptest.Package{ImportPath: m + "/topology", Imports: []string{m + "/internal/hash"}}, ""},
		{"codes in topology", deptest.Package{ImportPath: m + "/topology", Imports: []string{m + "/internal/codes", m + "/internal/policy/limits"}}, ""},
		{"security in the policy", deptest.Package{ImportPath: m + "/internal/policy", Imports: []string{m + "/security"}}, "standard library and YAML"},
		{"discovery in topology", deptest.Package{ImportPath: m + "/topology", Imports: []string{m + "/discovery"}}, "standard library and YAML"},
		{"security deep below the transport", deptest.Package{ImportPath: m + "/internal/transport", Deps: []string{m + "/security"}}, "knows no identity"},
		{"link below link", deptest.Package{ImportPath: m + "/codec", Imports: []string{m}}, "does not know link"},
		{"a pattern in link", deptest.Package{ImportPath: m, Imports: []string{m + "/protocol/reqrep"}}, "does not know the patterns"},
		{"a pattern in a test of link", deptest.Package{ImportPath: m, XTestImports: []string{m + "/protocol/reqrep"}}, ""},
		{"a pattern in a pattern", deptest.Package{ImportPath: m + "/protocol/pubsub", Imports: []string{m + "/protocol/reqrep"}}, "never import each other"},
		{"internals in a pattern", deptest.Package{ImportPath: m + "/protocol/pubsub", Imports: []string{m + "/internal/wire"}}, "user's own pattern"},
		{"a small tool in a pattern", deptest.Package{ImportPath: m + "/protocol/pubsub", Imports: []string{m + "/internal/notify"}}, ""},
		{"a pattern on public packages", deptest.Package{ImportPath: m + "/protocol/pubsub", Imports: []string{"context", m, m + "/codec", m + "/protocol/pubsub/internal/ring"}}, ""},
		{"linktest in a command", deptest.Package{ImportPath: m + "/cmd/link", Imports: []string{m + "/linktest"}}, "for tests"},
		{"an old generator", deptest.Package{ImportPath: m + "/codec", TestImports: []string{"math/rand"}}, "math/rand/v2"},
		{"a new generator", deptest.Package{ImportPath: m + "/codec", TestImports: []string{"math/rand/v2"}}, ""},
	} {
		got := deptest.Check([]deptest.Package{tt.pkg}, deptest.Rules())
		switch {
		case tt.want == "" && len(got) != 0:
			t.Errorf("%s: complaints %q, want none", tt.name, got)
		case tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)):
			t.Errorf("%s: complaints %q, want one with %q", tt.name, got, tt.want)
		}
	}
}

func TestPatternsMatchPaths(t *testing.T) {
	const m = deptest.Module
	matches := map[string][]string{
		"std":              {"fmt", "net/http", "internal/abi"},
		".":                {m},
		"./codec":          {m + "/codec"},
		"./codec/...":      {m + "/codec", m + "/codec/x"},
		"golang.org/x/...": {"golang.org/x", "golang.org/x/sys/unix"},
	}
	paths := []string{
		"fmt", "net/http", "internal/abi", m, m + "/codec", m + "/codec/x", m + "/codecs", "golang.org/x", "golang.org/x/sys/unix",
	}
	for pattern, want := range matches {
		var got []string
		for _, path := range paths {
			if deptest.Match(pattern, path) {
				got = append(got, path)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Match(%q) (-want +got):\n%s", pattern, diff)
		}
	}
}
