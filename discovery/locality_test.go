package discovery_test

import (
	"testing"

	"github.com/linkmesh/link/discovery"
)

func TestPlaceComesFromTagsThenMeta(t *testing.T) {
	meta := map[string]string{"zone": "m", "region": "eu", "dc": "dc1"}
	for name, c := range map[string]struct {
		in   discovery.Instance
		want [3]string
	}{
		"nothing said":      {discovery.Instance{Tags: []string{"zone", "zones=x", "v2"}}, [3]string{}},
		"tags":              {discovery.Instance{Tags: []string{"dc=b", "region=us", "zone=us-1"}}, [3]string{"us-1", "us", "b"}},
		"meta":              {discovery.Instance{Meta: meta}, [3]string{"m", "eu", "dc1"}},
		"a tag before meta": {discovery.Instance{Tags: []string{"zone=t"}, Meta: meta}, [3]string{"t", "eu", "dc1"}},
	} {
		if got := [3]string{c.in.Zone(), c.in.Region(), c.in.Datacenter()}; got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestOriginPrints(t *testing.T) {
	for origin, want := range map[discovery.Origin]string{
		discovery.FromNetwork: "network", discovery.FromHost: "host", discovery.FromConfig: "configuration", 9: "invalid",
	} {
		if origin.String() != want {
			t.Errorf("%d prints as %s, want %s", origin, origin, want)
		}
	}
}
