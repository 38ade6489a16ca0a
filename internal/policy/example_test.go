package policy_test

import (
	"fmt"
	"os"

	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/topology"
)

// This example explains the policy of the README: a canary for one user in twenty, always the same
// ones, and failover for when the caller's zone has no instances left.
func Example() {
	text, err := os.ReadFile("../../topology/testdata/readme.yaml")
	if err != nil {
		fmt.Println(err)
		return
	}
	doc, err := topology.Parse("topology.yaml", text)
	if err != nil {
		fmt.Println(err)
		return
	}
	compiled, err := policy.Compile(policy.Options{}, policy.Layer{Document: doc, Trusted: true})
	if err != nil {
		fmt.Println(err)
		return
	}

	instances := map[string][]topology.ExplainedInstance{
		"orders": {
			{ID: "orders-01JZ", Addr: "10.0.0.5:7443", Tags: []string{"v1"}, Zone: "eu-1a", Region: "eu", Note: "connected, 3 in flight, 1.2ms"},
			{ID: "orders-01K2", Addr: "10.0.0.6:7443", Tags: []string{"v1"}, Zone: "eu-1a", Region: "eu", Note: "connected"},
			{ID: "orders-01K7", Addr: "10.0.1.5:7443", Tags: []string{"v1"}, Zone: "eu-1b", Region: "eu", Trouble: "draining"},
			{ID: "orders-01M0", Addr: "10.0.0.7:7443", Tags: []string{"v2"}, Zone: "eu-1a", Region: "eu"},
		},
		"orders-dr": {
			{ID: "orders-dr-01A1", Addr: "10.9.0.5:7443", Tags: []string{"v1"}, Zone: "us-2a", Region: "us"},
		},
	}
	fmt.Print(policy.Explain(compiled, "orders",
		policy.Request{Kind: "method", Name: "get", Caller: "billing", Meta: policy.MetadataMap{"user-id": "ada"}},
		policy.Locality{Zone: "eu-1a", Region: "eu"},
		func(service string) []topology.ExplainedInstance { return instances[service] }))
	// Output:
	// method orders/get from billing (zone eu-1a, region eu)
	// routes[0]: to stable 95%, canary 5%; sticky meta:user-id "ada" -> stable
	// levels:
	//   1  stable in zone eu-1a       2 of 2 available  <- picked here (p2c)
	//   2  stable in region eu        2 of 3 available
	//   3  orders-dr: every instance  1 of 1 available
	// instances:
	//   orders-01JZ  10.0.0.5:7443  v1 zone=eu-1a  yes  level 1; connected, 3 in flight, 1.2ms
	//   orders-01K2  10.0.0.6:7443  v1 zone=eu-1a  yes  level 1; connected
	//   orders-01K7  10.0.1.5:7443  v1 zone=eu-1b  no   level 2; draining
	//   orders-01M0  10.0.0.7:7443  v2 zone=eu-1a  no   not in subset stable: lacks tag v1; canary gets 5% of such calls
	// instances of orders-dr:
	//   orders-dr-01A1  10.9.0.5:7443  v1 zone=us-2a  no  level 3; level 1 comes first
}

// The levels of a plan say where to look for an instance, in order.
func ExamplePlans_Route() {
	doc := &topology.Document{Services: map[string]topology.Service{
		"orders": {
			Subsets: map[string]topology.Subset{
				"stable": {Tags: []string{"v1"}},
				"canary": {Tags: []string{"v2"}},
			},
			Routes: []topology.Route{
				{Match: topology.Match{Meta: map[string]string{"x-canary": "1"}}, To: topology.Split{"canary": 100}},
				{To: topology.Split{"stable": 100}},
			},
			Failover: []string{"zone", "subset:stable"},
			LB:       topology.LoadBalancing{SlowStart: topology.Off},
		},
	}}
	compiled, err := policy.Compile(policy.Options{}, policy.Layer{Origin: "code", Document: doc, Trusted: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	plan := compiled.Service("orders").Route(&policy.Request{
		Kind: "method", Name: "get", Meta: policy.MetadataMap{"x-canary": "1"},
	})
	for _, level := range plan.Levels {
		fmt.Println(level.Service, level.Subset.Name, level.Scope)
	}
	// Output:
	// orders canary zone
	// orders stable any
}
