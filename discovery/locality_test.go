package discovery_test

import (
	"errors"
	"strings"
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
		"two places":        {discovery.Instance{Tags: []string{"zone=b", "zone=a"}}, [3]string{"a", "", ""}},
		"and turned":        {discovery.Instance{Tags: []string{"zone=a", "zone=b"}}, [3]string{"a", "", ""}},
		"one without name":  {discovery.Instance{Tags: []string{"zone=", "zone=b", "region="}, Meta: meta}, [3]string{"b", "eu", "dc1"}},
	} {
		if got := [3]string{c.in.Zone(), c.in.Region(), c.in.Datacenter()}; got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestAnInstanceIsInOnePlace(t *testing.T) {
	for _, c := range []struct {
		in discovery.Instance
		// wrong is part of the expected error, or "" if the place is valid.
		wrong string
	}{
		{discovery.Instance{Tags: []string{"zone=a", "region=a", "dc=a", "zone", "zones=", "tier=a", "tier=b"}}, ""},
		{discovery.Instance{Tags: []string{"zone=a", "zone=a"}, Meta: map[string]string{"zone": "b", "tier": ""}}, ""},
		{discovery.Instance{Tags: []string{"v2", "zone=a", "zone=b"}}, `Tags[2] "zone=b": "zone=a" is there, too, and an instance is in one zone; remove one of them`},
		{discovery.Instance{Tags: []string{"region=a", "region=b"}}, "in one region"},
		{discovery.Instance{Tags: []string{"dc=a", "dc=b"}}, "in one datacenter"},
		{discovery.Instance{Tags: []string{"zone="}}, `Tags[0] "zone=": names no zone; write its name after the =`},
		{discovery.Instance{Tags: []string{"zone=a", "zone="}}, "names no zone"},
		{discovery.Instance{Tags: []string{"region="}}, "names no region"},
		{discovery.Instance{Tags: []string{"dc="}}, "names no datacenter"},
		{discovery.Instance{Meta: map[string]string{"dc": ""}}, `Meta["dc"] "": names no datacenter; write its name, or leave the pair out`},
	} {
		err := c.in.ValidatePlace()
		if c.wrong == "" {
			if err != nil {
				t.Errorf("%q: %v", c.in.Tags, err)
			}
			continue
		}
		if !errors.Is(err, discovery.ErrInvalidInstance) || !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%q: %v, want %q", c.in.Tags, err, c.wrong)
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
