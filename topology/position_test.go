package topology_test

import (
	"fmt"
	"testing"

	"github.com/linkmesh/link/topology"
)

func TestPositionsAreThoseOfTheText(t *testing.T) {
	doc, err := topology.Parse("topology.yaml", []byte("version: link/v1\nservices:\n  orders:\n    routes: [ { to: any } ]\n"))
	if err != nil {
		t.Fatal(err)
	}
	var none *topology.Document
	for _, c := range []struct {
		doc        *topology.Document
		path, want string
	}{
		{doc, "services.orders.routes[0].to", "topology.yaml 4 21"},
		// A timeout was not written: its route is the closest field around it.
		{doc, "services.orders.routes[0].timeout", "topology.yaml 4 15"},
		{doc, "services.orders.lb.panic", "topology.yaml 3 3"},
		{&topology.Document{}, "services.orders", " 0 0"},
		{none, "services.orders", " 0 0"},
	} {
		name, line, column := c.doc.Position(c.path)
		if got := fmt.Sprint(name, " ", line, " ", column); got != c.want {
			t.Errorf("%s is at %q, want %q", c.path, got, c.want)
		}
	}
}
