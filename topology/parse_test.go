package topology_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/linkmesh/link/internal/policy/limits"
	"github.com/linkmesh/link/internal/policy/policytest"
	"github.com/linkmesh/link/topology"
)

// fullDocument returns policytest.Full made in Go.
func fullDocument() *topology.Document {
	return &topology.Document{
		Version: "link/v1",
		Services: map[string]topology.Service{
			"orders": {
				Subsets: map[string]topology.Subset{
					"stable": {Tags: []string{"v1"}},
					"canary": {Tags: []string{"v2", "eu"}, Meta: map[string]string{"size": "1.10"}},
				},
				Routes: []topology.Route{
					{
						Match: topology.Match{Meta: map[string]string{"x-canary": "1"}, Caller: []string{"billing"}},
						To:    topology.Split{"canary": 100},
					},
					{
						Match:    topology.Match{Method: "orders/Export*", Caller: []string{"billing", "web"}},
						To:       topology.Split{"stable": 100},
						Timeout:  30 * time.Second,
						Retry:    topology.Retry{Attempts: 1},
						Failover: []string{},
					},
					{Match: topology.Match{Topic: "placed"}, To: topology.Split{"service:orders-events": 100}},
					{Match: topology.Match{Stage: "pack"}},
					{
						To:       topology.Split{"stable": 95, "canary": 5, "any": 0},
						Sticky:   "meta:user-id",
						Failover: []string{"dc", "any"},
					},
				},
				Failover: []string{"zone", "region", "subset:stable", "service:orders-dr"},
				Timeout:  3 * time.Second,
				Retry:    topology.Retry{Budget: 10},
				LB: topology.LoadBalancing{
					Policy: topology.Hash, Key: "meta:cart", ZoneAware: topology.Off, Panic: topology.Off,
					SlowStart: topology.Off, Subset: topology.Off,
				},
				Outlier: &topology.Outlier{Errors: 7, Interval: 5 * time.Second, Eject: time.Minute, Max: topology.Off},
				Mirror:  &topology.Mirror{To: topology.Split{"service:orders-shadow": 100}, Percent: 0.5},
				Fault:   &topology.Fault{Delay: 200 * time.Millisecond, Abort: "unavailable", Percent: 1},
			},
			"plain": {},
		},
		Defaults: topology.Defaults{
			Timeout:   5 * time.Second,
			Retry:     topology.Retry{Attempts: 2, Budget: 20, On: []string{"unavailable"}},
			ZoneAware: topology.On,
		},
	}
}

func TestYAMLAndGoSayTheSame(t *testing.T) {
	fromYAML, fromGo := policytest.Parsed(t, policytest.Full), fullDocument()
	if !fromYAML.Equal(fromGo) {
		t.Errorf("the documents differ (-YAML +Go):\n%s", cmp.Diff(fromYAML.Services, fromGo.Services))
	}
	if err := fromGo.Validate(); err != nil {
		t.Errorf("the document in Go: %v", err)
	}
	if diff := cmp.Diff(policytest.CompiledDocument(t, fromYAML), policytest.CompiledDocument(t, fromGo), policytest.ExportAll()); diff != "" {
		t.Errorf("the policies differ (-YAML +Go):\n%s", diff)
	}
}

func TestEqualSeesADifference(t *testing.T) {
	a, b := fullDocument(), fullDocument()
	if !a.Equal(b) {
		t.Fatal("two equal documents are not Equal")
	}
	b.Services["orders"].Routes[4].To["canary"] = 6
	if a.Equal(b) {
		t.Error("documents with different shares are Equal")
	}
	var none *topology.Document
	if none.Equal(a) || !none.Equal(nil) {
		t.Error("a nil document equals nil, and nothing else")
	}
}

func TestErrorsOfDocuments(t *testing.T) {
	policytest.Golden(t, "errors.txtar", ".yaml", func(t *testing.T, data []byte) string {
		t.Helper()
		doc, err := topology.Parse("t.yaml", data)
		if err == nil {
			t.Fatal("Parse took it")
		}
		if doc != nil {
			t.Error("Parse returned a document and an error")
		}
		if !errors.Is(err, topology.ErrInvalid) && !errors.Is(err, topology.ErrLimit) {
			t.Errorf("the error %v is neither ErrInvalid nor ErrLimit", err)
		}
		return err.Error()
	})
}

func TestParseTakes(t *testing.T) {
	for name, text := range map[string]string{
		"a version alone":            "version: link/v1",
		"a byte order mark":          "\ufeffversion: link/v1\n",
		"Windows line ends":          "version: link/v1\r\nservices:\r\n  orders: {}\r\n",
		"JSON":                       `{"version": "link/v1", "services": {"orders": {"subsets": {"a": {"tags": ["x"]}}, "routes": [{"to": {"a": 100}}]}}}`,
		"JSON indented by tabs":      "{\n\t\"version\": \"link/v1\",\n\t\"services\": {\n\t\t\"orders\": {}\n\t}\n}\n",
		"comments and a start mark":  "# policy\n---\nversion: link/v1 # one\n",
		"a subset named like a word": policytest.Service("routes: [ { to: stable } ]\nfailover: [subset:stable]"),
		"percent with a space":       policytest.Service(`outlier: { max: "10 %" }`),
		"percent of all kinds":       policytest.Service("mirror: { to: any, percent: 100 }\nfault: { abort: internal, percent: 0.01% }"),
		"no target":                  policytest.Service("routes: [ { timeout: 1s } ]"),
		"a share of nothing":         policytest.Service("routes: [ { to: { stable: 100, canary: 0 } } ]"),
	} {
		t.Run(name, func(t *testing.T) { policytest.Compiled(t, text) })
	}
}

func TestParseRefusesByLimit(t *testing.T) {
	for name, text := range map[string]string{
		"too long":   "version: link/v1\n#" + strings.Repeat("x", limits.MaxDocument),
		"too nested": "version: link/v1\nservices: " + strings.Repeat("[", 20) + strings.Repeat("]", 20),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := topology.Parse("t.yaml", []byte(text)); !errors.Is(err, topology.ErrLimit) {
				t.Errorf("got %v, want ErrLimit", err)
			}
		})
	}
}

func TestReadmeFileIsTenLines(t *testing.T) {
	data, err := os.ReadFile("testdata/readme.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(data, []byte("\n")); n != 10 {
		t.Errorf("testdata/readme.yaml has %d lines; the README promises ten", n)
	}
}
