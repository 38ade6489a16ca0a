package reach_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/linkmesh/link/internal/policy/reach"
)

func TestACircleIsReportedWhereItCloses(t *testing.T) {
	got := reach.Check(map[string]reach.Service{
		"a": {Failover: []string{reach.ServicePrefix + "b"}},
		"b": {Routes: []reach.Route{{To: map[string]int{reach.ServicePrefix + "a": 100}}}},
		"c": {Mirror: map[string]int{reach.ServicePrefix + "c": 100}},
	})
	want := []reach.Finding{{
		Service: "b", Path: "services.b.routes[0].to", Reason: "calls would go in a circle: a -> b -> a; remove one of these steps",
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEdgesAndMirrorsNameTheirFields(t *testing.T) {
	s := reach.Service{
		Routes: []reach.Route{
			{To: map[string]int{reach.Any: 50, reach.ServicePrefix + "next": 50}},
			{Failover: []string{reach.Zone, reach.ServicePrefix + "special"}},
		},
		Failover: []string{reach.ServicePrefix + "dr"},
		Mirror:   map[string]int{reach.ServicePrefix + "shadow": 50, reach.Any: 50},
	}
	edges := []reach.Edge{
		{To: "next", Path: "services.orders.routes[0].to"},
		{To: "dr", Path: "services.orders.failover[0]"},
		{To: "special", Path: "services.orders.routes[1].failover[1]"},
	}
	if diff := cmp.Diff(edges, s.Edges("orders")); diff != "" {
		t.Errorf("edges (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]reach.Edge{{To: "shadow", Path: "services.orders.mirror.to"}}, s.Mirrors("orders")); diff != "" {
		t.Errorf("mirrors (-want +got):\n%s", diff)
	}
}
