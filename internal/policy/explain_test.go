package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/internal/policy/policytest"
	"github.com/linkmesh/link/topology"
)

// explained is a case of testdata/explain.txtar.
type explained struct {
	Policy  string
	Service string
	Call    struct {
		Kind, Name, Caller, Key string
		Meta                    policy.MetadataMap
		Random                  uint64
		// Instance is the ID of the instance that the call names, if it does.
		Instance string
	}
	Zone, Region, DC string
	// Trouble, Note and Weight are set on the instances with these instance IDs.
	Trouble map[string]string
	Note    map[string]string
	Weight  map[string]int
}

// fleet returns the instances of a service, which are the same in every case.
func fleet(service string) []topology.ExplainedInstance {
	list := []topology.ExplainedInstance{
		{ID: "orders-01J9", Addr: "10.0.0.5:7443", Tags: []string{"v1", "zone=eu-1a"}, Zone: "eu-1a", Region: "eu", Datacenter: "dc1"},
		{ID: "orders-01K2", Addr: "10.0.0.6:7443", Tags: []string{"v1", "zone=eu-1a"}, Zone: "eu-1a", Region: "eu", Datacenter: "dc1"},
		{ID: "orders-01K7", Addr: "10.0.0.7:7443", Tags: []string{"v2"}, Zone: "eu-1a", Region: "eu", Datacenter: "dc1"},
		{ID: "orders-01M0", Addr: "10.0.1.5:7443", Tags: []string{"v1"}, Meta: map[string]string{"size": "big"}, Zone: "eu-1b", Region: "eu", Datacenter: "dc1"},
		{ID: "orders-01N4", Addr: "10.9.0.5:7443", Tags: []string{"v1"}, Zone: "us-2a", Region: "us", Datacenter: "dc2"},
		{ID: "orders-01P8", Addr: "10.9.0.6:7443", Tags: []string{"v1"}},
		{ID: "orders-dr-01A1", Addr: "10.7.0.1:7443", Tags: []string{"v1"}, Zone: "eu-9z", Region: "eu"},
	}
	return slices.DeleteFunc(list, func(in topology.ExplainedInstance) bool {
		return !strings.HasPrefix(in.ID, service+"-0")
	})
}

func TestExplain(t *testing.T) {
	policytest.Golden(t, "explain.txtar", ".yaml", func(t *testing.T, data []byte) string {
		t.Helper()
		var c explained
		if err := yaml.Unmarshal(data, &c); err != nil {
			t.Fatal(err)
		}
		var p *policy.Policy
		if c.Policy != "" {
			p = policytest.Compiled(t, c.Policy)
		}
		if c.Service == "" {
			c.Service = "orders"
		}
		asked := map[string]int{}
		r := policy.Request{
			Kind: c.Call.Kind, Name: c.Call.Name, Caller: c.Call.Caller, Key: c.Call.Key, Meta: c.Call.Meta, Random: c.Call.Random,
		}
		at := policy.Locality{Zone: c.Zone, Region: c.Region, Datacenter: c.DC}
		instances := func(service string) []topology.ExplainedInstance {
			asked[service]++
			list := fleet(service)
			for i := range list {
				in := &list[i]
				in.Trouble, in.Note, in.Weight = c.Trouble[in.ID], c.Note[in.ID], c.Weight[in.ID]
				if c.Call.Instance != "" && in.ID != c.Call.Instance {
					in.Trouble = "the call is for instance " + c.Call.Instance
				}
			}
			return list
		}
		e := policy.Explain(p, c.Service, r, at, instances)
		if c.Call.Instance != "" {
			clear(asked)
			e = policy.ExplainInstance(p, c.Service, r, c.Call.Instance, at, instances)
		}
		for service, n := range asked {
			if n != 1 {
				t.Errorf("asked %d times for the instances of %s", n, service)
			}
		}
		text := e.String()
		for line := range strings.Lines(text) {
			if strings.TrimRight(line, " \n") != strings.TrimSuffix(line, "\n") {
				t.Errorf("blanks at the end of %q", line)
			}
		}
		return text
	})
}

func TestExplainIsSafeOnATerminal(t *testing.T) {
	e := policy.Explain(nil, "orders\x1b[2J", policy.Request{Kind: "\x1b", Name: "\x07", Caller: "\r", Meta: nil}, policy.Locality{Zone: "\t"},
		func(string) []topology.ExplainedInstance {
			return []topology.ExplainedInstance{{ID: "\x1b[1A", Addr: "\x00", Tags: []string{"\u202e"}, Note: "\n", Trouble: "\x1b]0;x"}}
		})
	if text := e.String(); strings.ContainsAny(strings.ReplaceAll(text, "\n", ""), "\x1b\x07\r\x00\u202e\t") || strings.Count(text, "\n") != 7 {
		t.Errorf("%q", text)
	}
}

func TestExplainListsABoundedNumber(t *testing.T) {
	e := policy.Explain(nil, "orders", policy.Request{}, policy.Locality{}, func(string) []topology.ExplainedInstance {
		list := make([]topology.ExplainedInstance, 1000)
		for i := range list {
			list[i].ID = fmt.Sprintf("orders-%04d", i)
		}
		return list
	})
	if len(e.Instances) != 1000 || !e.Instances[999].Chosen {
		t.Errorf("%d instances", len(e.Instances))
	}
	if text := e.String(); strings.Count(text, "\n") > 120 || !strings.Contains(text, "and 900 more") {
		t.Error(text)
	}
}
