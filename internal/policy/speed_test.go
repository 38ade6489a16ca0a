package policy_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/internal/policy/policytest"
	"github.com/linkmesh/link/topology"
)

func TestRouteAndMatchesAllocateNothing(t *testing.T) {
	p := policytest.Compiled(t, policytest.Full)
	plans := p.Service("orders")
	requests := []policy.Request{
		{Kind: "method", Name: "orders/Export/All", Caller: "web", Meta: policy.MetadataMap{"x-canary": "0", "user-id": "u1", "cart": "c"}},
		{Kind: "method", Name: "orders/Get", Meta: policy.MetadataMap{"user-id": "u1", "cart": "c"}},
		{Kind: "method", Name: "orders/Get", Random: 5},
		{Kind: "topic", Name: "placed", Key: "k"},
	}
	subset := &topology.Subset{Tags: []string{"eu", "v2"}, Meta: map[string]string{"size": "big"}}
	tags, meta := []string{"eu", "v2", "zone=a"}, map[string]string{"size": "big"}
	matched := 0
	allocs := testing.AllocsPerRun(100, func() {
		for i := range requests {
			plan := plans.Route(&requests[i])
			if _, ok := plan.KeyOf(&requests[i]); ok {
				matched++
			}
			if plan.Mirrored(&requests[i]) != nil || plan.Faulted(&requests[i]) {
				matched++
			}
			if subset.Matches(tags, meta) {
				matched++
			}
			if p.Service("orders") != plans {
				matched = -1
			}
		}
	})
	if allocs != 0 || matched <= 0 {
		t.Errorf("%v allocations, %d matches", allocs, matched)
	}
}

func BenchmarkRoute(b *testing.B) {
	for _, rules := range []int{0, 10, 255} {
		doc := &topology.Document{Services: map[string]topology.Service{"orders": {Subsets: map[string]topology.Subset{"canary": {Tags: []string{"v2"}}}}}}
		s := doc.Services["orders"]
		for i := range rules {
			s.Routes = append(s.Routes, topology.Route{Match: topology.Match{Method: fmt.Sprint("orders/M", i)}})
		}
		s.Routes = append(s.Routes, topology.Route{To: topology.Split{"any": 95, "canary": 5}, Sticky: "meta:user"})
		doc.Services["orders"] = s
		plans := policytest.CompiledDocument(b, doc).Service("orders")
		r := policy.Request{Kind: "method", Name: "orders/Get", Meta: policy.MetadataMap{"user": "u1"}}
		b.Run(fmt.Sprint(rules, " rules before"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				plans.Route(&r)
			}
		})
	}
}

// TestPoliciesMaySwapUnderCallers swaps policies while callers use them, as a reload does. It is meant
// for the race detector.
func TestPoliciesMaySwapUnderCallers(t *testing.T) {
	docs := []*topology.Document{policytest.Parsed(t, policytest.Full), policytest.Parsed(t, policytest.Service("routes: [ { to: stable } ]"))}
	var current atomic.Pointer[policy.Policy]
	current.Store(policytest.CompiledDocument(t, docs[0]))
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for i := uint64(0); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				p := current.Load()
				r := policy.Request{Kind: "method", Name: "orders/Get", Random: i, Meta: policy.MetadataMap{"user-id": "u"}}
				plan := p.Service("orders").Route(&r)
				for _, l := range plan.Levels {
					l.Subset.Matches(nil, nil)
				}
				plan.Mirrored(&r)
				p.Services("orders")
				if i%64 == 0 {
					_ = policy.Explain(p, "orders", r, policy.Locality{}, nil).String()
				}
			}
		})
	}
	for i := range 1000 {
		p, err := policy.Compile(policy.Options{AllowFaults: true}, policy.Layer{Document: docs[i%2], Trusted: true})
		if err != nil {
			t.Error(err)
			break
		}
		current.Store(p)
	}
	close(stop)
	callers.Wait()
}
