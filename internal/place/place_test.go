package place_test

import (
	"testing"

	"github.com/linkmesh/link/internal/place"
)

func TestTagsThatArePlaces(t *testing.T) {
	for tag, want := range map[string]bool{"zone=a": true, "region=": true, "dc=1": true, "zone": false, "zones=a": false, "": false, "v2": false} {
		if place.Is(tag) != want {
			t.Errorf("%q is a place: %t", tag, !want)
		}
	}
}

func TestNamesOfPlaces(t *testing.T) {
	for _, c := range []struct {
		tag, key, name string
		ok             bool
	}{
		{"zone=eu-1a", place.Zone, "eu-1a", true},
		{"dc=a=b", place.Datacenter, "a=b", true},
		{"region=", place.Region, "", true},
		{"zone=eu-1a", place.Region, "", false},
		{"zones=a", place.Zone, "", false},
	} {
		if name, ok := place.Name(c.tag, c.key); name != c.name || ok != c.ok {
			t.Errorf("%q has the %s %q, %t; want %q, %t", c.tag, c.key, name, ok, c.name, c.ok)
		}
	}
}
