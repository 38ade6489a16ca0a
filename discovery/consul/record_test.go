package consul

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/linkmesh/link/discovery"
)

// asEntry returns the entry of the health endpoint for a registration of in.
func asEntry(t *testing.T, in discovery.Instance) entry {
	t.Helper()
	reg, err := encode(in, "owner")
	if err != nil {
		t.Fatal(err)
	}
	h := &held{reg: *reg, checks: map[string]string{"serfHealth": api.HealthPassing, reg.Check.CheckID: api.HealthPassing}}
	return h.entry("dc1")
}

func TestARegistrationComesBackWhole(t *testing.T) {
	full := discovery.Instance{
		ID: "orders-1", Service: "orders", Namespace: "shop", Addr: "[fe80::1%eth0]:65535",
		Tags: []string{"größe=m", "v2"}, Meta: map[string]string{"owner": "team a, ext. 7", "empty": ""},
		Weight: 17, Status: discovery.Draining, Started: time.Date(2026, 11, 21, 12, 30, 15, 987_654_321, time.FixedZone("", 3600)),
	}
	for name, in := range map[string]discovery.Instance{
		"full": full, "least": instance("orders-1"), "host name": {ID: "a", Service: "orders", Addr: "db.internal:1"},
	} {
		in = in.Normalized()
		e := asEntry(t, in)
		m, s, reason := e.decode(in.Query())
		want := in.Normalized()
		if want.Meta == nil {
			want.Meta = make(map[string]string)
		}
		want.Meta["dc"] = "dc1"
		if s != ours || !m.Equal(want) || m.node != "node-1" || m.dc != "dc1" {
			t.Errorf("%s: %v %s\ngot  %+v\nwant %+v", name, s, reason, m, want)
		}
	}
}

func TestARegistrationIsHowConsulShouldKeepIt(t *testing.T) {
	in := instance("orders-1")
	in.Weight = 30
	reg, err := encode(in.Normalized(), "owner")
	if err != nil {
		t.Fatal(err)
	}
	c := reg.Check
	if c.TTL != "15s" || c.Status != "passing" || c.DeregisterCriticalServiceAfter != "10m0s" || reg.EnableTagOverride ||
		*reg.Weights != (api.AgentWeights{Passing: 30, Warning: 1}) {
		t.Errorf("registration %+v, check %+v", reg, c)
	}
	if got := reg.Meta; got["link-proto"] != "1" || got["link-ns"] != "default" || got["link-weight"] != "30" {
		t.Errorf("meta %v", got)
	}
}

func TestWhichEntriesCount(t *testing.T) {
	check := func(id, status string) func(*entry) {
		return func(e *entry) { e.Checks = append(e.Checks, struct{ CheckID, Status string }{id, status}) }
	}
	meta := func(key, value string) func(*entry) {
		return func(e *entry) {
			e.Service.Meta = maps.Clone(e.Service.Meta)
			e.Service.Meta[key] = value
		}
	}
	for name, c := range map[string]struct {
		change func(*entry)
		sort   sort
		weight int
		status discovery.Status
	}{
		"healthy":                       {func(*entry) {}, ours, 100, discovery.Serving},
		"warning":                       {check("c", "warning"), ours, 1, discovery.Serving},
		"critical":                      {check("c", "critical"), out, 0, 0},
		"a sick node":                   {check("serfHealth", "critical"), out, 0, 0},
		"an unknown status":             {check("c", "fine"), out, 0, 0},
		"maintenance":                   {check("_service_maintenance:orders-1", "critical"), ours, 100, discovery.Draining},
		"maintenance of the node":       {check("_node_maintenance", "critical"), ours, 100, discovery.Draining},
		"draining":                      {meta("link-status", "draining"), ours, 100, discovery.Draining},
		"an ordinary service of Consul": {func(e *entry) { e.Service.Meta = nil }, foreign, 0, 0},
		"another namespace":             {meta("link-ns", "shop"), foreign, 0, 0},
		"a name that differs in case":   {func(e *entry) { e.Service.Service = "Orders" }, foreign, 0, 0},
		"no namespace":                  {meta("link-ns", ""), ours, 100, discovery.Serving},
		"another protocol":              {meta("link-proto", "2"), malformed, 0, 0},
		"a broken weight":               {meta("link-weight", "many"), ours, 100, discovery.Serving},
		"too large a weight":            {meta("link-weight", "70000"), malformed, 0, 0},
		"a negative weight":             {meta("link-weight", "-1"), malformed, 0, 0},
		"no ID":                         {func(e *entry) { e.Service.ID = "" }, malformed, 0, 0},
		"no port":                       {func(e *entry) { e.Service.Port = 0 }, malformed, 0, 0},
		"a tag with spaces":             {func(e *entry) { e.Service.Tags = []string{"a b"} }, malformed, 0, 0},
		"a broken time":                 {meta("link-started", "today"), malformed, 0, 0},
		"a broken value":                {meta("a", "\x00"), malformed, 0, 0},
	} {
		e := asEntry(t, instance("orders-1").Normalized())
		c.change(&e)
		m, s, reason := e.decode(orders)
		if s != c.sort || m.Weight != c.weight || m.Status != c.status {
			t.Errorf("%s: %v %q, %+v", name, s, reason, m)
		}
		if s == malformed && reason == "" {
			t.Errorf("%s: no reason", name)
		}
	}
}

func TestMachineFactsDoNotReachUsers(t *testing.T) {
	e := asEntry(t, instance("orders-1").Normalized())
	e.Service.Meta["link-future"] = "x"
	m, _, _ := e.decode(orders)
	for key := range m.Meta {
		if key != "dc" {
			t.Errorf("meta has %s", key)
		}
	}
}

func FuzzEntry(f *testing.F) {
	for _, text := range []string{
		`{"Node":{"Node":"n","Address":"192.0.2.1","Datacenter":"dc1"},"Service":{"ID":"a","Service":"orders","Port":1,` +
			`"Meta":{"link-proto":"1","link-ns":"default","link-started":"2026-11-21T11:30:15.987Z","k":"v"},"Weights":{"Passing":5}},` +
			`"Checks":[{"CheckID":"serfHealth","Status":"passing"}]}`,
		`null`, `{}`, `[]`, `{"Service":{"Meta":{"link-proto":"1"}}}`,
		`{"Service":{"Service":"orders","ID":"x","Address":"::","Port":70000,"Meta":{"link-proto":"1","link-weight":"1e9"}}}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var a answer
		a.add(data, orders)
		if len(a.members)+a.foreign+a.bad > 1 {
			t.Fatalf("one entry counts more than once: %+v", a)
		}
		for _, m := range a.members {
			if !m.Equal(m.Normalized()) || m.Query() != orders {
				t.Fatalf("not normalized, or not asked for: %+v", m)
			}
			in := m.Normalized()
			if m.dc != "" {
				delete(in.Meta, "dc")
			}
			if err := in.Validate(); err != nil {
				t.Fatalf("invalid: %v", err)
			}
			for key := range m.Meta {
				if strings.HasPrefix(key, "link-") {
					t.Fatalf("meta has %s", key)
				}
			}
		}
		var e entry
		if json.Unmarshal(data, &e) != nil && a.bad != 1 {
			t.Fatal("what is not an entry was taken for one")
		}
	})
}

func TestCheckIsValidateAndMore(t *testing.T) {
	in := instance("")
	if err := check(in); !errors.Is(err, discovery.ErrInvalidInstance) {
		t.Errorf("error %v", err)
	}
}
