package topology_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/linkmesh/link/topology"
)

// TestAMatchMayNameTheService checks that a match may begin with the service's name, as routes do in errors and logs.
func TestAMatchMayNameTheService(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"get", "get", true},
		{"catalog/get", "get", true},
		// The name itself may contain a slash.
		{"catalog/get", "catalog/get", true},
		{"catalog/get", "getall", false},
		{"catalog/get*", "getall", true},
		{"catalog/*", "anything", true},
		{"catalog/admin/reset", "admin/reset", true},
		{"catalog/admin/*", "admin/reset", true},
		{"catalog/admin/reset", "reset", false},
	} {
		for _, kind := range []string{"method", "topic", "stage"} {
			p := compiled(t, "version: link/v1\nservices:\n  catalog:\n    routes:\n      - { match: { "+kind+": \""+tt.pattern+"\" }, timeout: 7s }\n")
			if plan := p.Service("catalog").Route(&topology.Request{Kind: kind, Name: tt.name}); (plan.Timeout != 0) != tt.want {
				t.Errorf("%s: %s matches %s: %v, want %v", kind, tt.pattern, tt.name, plan.Timeout != 0, tt.want)
			}
		}
	}
}

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
	p := compiled(t, "version: link/v1\nservices:\n  orders: {}\n  catalog:\n    routes:\n      - { match: { method: catalog/orders/get }, timeout: 7s }\n")
	if plan := p.Service("catalog").Route(&topology.Request{Kind: "method", Name: "orders/get"}); plan.Timeout == 0 {
		t.Error("a name that looks like one of another service cannot be written")
	}
}
