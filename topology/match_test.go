package topology_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/internal/policy/policytest"
	"github.com/linkmesh/link/topology"
)

func TestAMatchOfAnotherServiceIsRefusedWithItsLine(t *testing.T) {
	_, err := topology.Parse("topology.yaml", []byte("version: link/v1\nservices:\n  orders: {}\n  catalog:\n    routes:\n      - { match: { method: orders/get } }\n"))
	want := `topology.yaml:6:28: services.catalog.routes[0].match.method: is "orders/get", a method of service orders, and these are the rules of catalog; write "catalog/orders/get" if that is its name here`
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	for pattern, want := range map[string]string{
		"catalgo/get": `is "catalgo/get", and these are the rules of catalog; did you mean "catalog/get"? Write "catalog/catalgo/get" if it is a name of catalog`,
		"admin/reset": `is "admin/reset", and these are the rules of catalog; write "catalog/admin/reset" if it is a name of catalog`,
		"shop/get*":   `is "shop/get*", and these are the rules of catalog; write "catalog/shop/get*" if it is a name of catalog`,
		"/get":        `is "/get", and these are the rules of catalog; write "catalog//get" if it is a name of catalog`,
	} {
		for _, kind := range []string{"method", "topic", "stage"} {
			_, err := topology.Parse("kv", []byte("version: link/v1\nservices:\n  catalog:\n    routes:\n      - match: { "+kind+": \""+pattern+"\" }\n"))
			if want := fmt.Sprintf("kv:5:%d: ", 20+len(kind)) + "services.catalog.routes[0].match." + kind + ": " + want; err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s %s: got %v, want %s", kind, pattern, err, want)
			}
		}
	}
	p := policytest.Compiled(t, "version: link/v1\nservices:\n  orders: {}\n  catalog:\n    routes:\n      - { match: { method: catalog/orders/get }, timeout: 7s }\n")
	if plan := p.Service("catalog").Route(&policy.Request{Kind: "method", Name: "orders/get"}); plan.Timeout == 0 {
		t.Error("a name that looks like one of another service cannot be written")
	}
}
