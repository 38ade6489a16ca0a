package policy_test

import (
	"testing"

	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/internal/policy/policytest"
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
			p := policytest.Compiled(t, "version: link/v1\nservices:\n  catalog:\n    routes:\n      - { match: { "+kind+": \""+tt.pattern+"\" }, timeout: 7s }\n")
			if plan := p.Service("catalog").Route(&policy.Request{Kind: kind, Name: tt.name}); (plan.Timeout != 0) != tt.want {
				t.Errorf("%s: %s matches %s: %v, want %v", kind, tt.pattern, tt.name, plan.Timeout != 0, tt.want)
			}
		}
	}
}
