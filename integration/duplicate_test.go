package integration

import (
	"errors"
	"sync"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/consul"
	"github.com/linkmesh/link/integration/internal/agent"
)

// TestASecondServiceWithTheSameIDIsRefused registers one ID from two processes' registries.
func TestASecondServiceWithTheSameIDIsRefused(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	m := newMesh(t)
	in := instance()
	register(t, m.registry(a.Address()), in)
	again := in
	again.Addr = "127.0.0.1:7555"
	for _, name := range []string{service, "billing"} {
		again.Service = name
		g, err := m.registry(a.Address()).Register(t.Context(), again)
		if !errors.Is(err, discovery.ErrDuplicateID) {
			t.Errorf("as %s: %v", name, err)
		}
		if err == nil {
			_ = g.Close()
		}
	}
	s := follow(t, m.registry(a.Address()), service).untilIDs(in.ID)
	if s.Instances[0].Addr != in.Addr {
		t.Errorf("a refused duplicate changed the address to %s", s.Instances[0].Addr)
	}
}

// TestOfTwoAtOnceWithOneIDOneRemains registers at the same instant. Consul cannot tell the two
// apart, so both may be told that they won; the one that lost must then find out.
func TestOfTwoAtOnceWithOneIDOneRemains(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	m := newMesh(t)
	in := instance()
	rivals := []discovery.Instance{in, in, in, in}
	regs := make([]discovery.Registration, len(rivals))
	registries := make([]*consul.Registry, len(rivals))
	for i := range rivals {
		rivals[i].Addr = []string{"127.0.0.1:7551", "127.0.0.1:7552", "127.0.0.1:7553", "127.0.0.1:7554"}[i]
		registries[i] = m.registry(a.Address())
	}
	var wg sync.WaitGroup
	for i := range rivals {
		wg.Go(func() {
			g, err := registries[i].Register(t.Context(), rivals[i])
			if err != nil && !errors.Is(err, discovery.ErrDuplicateID) {
				t.Errorf("rival %d: %v", i, err)
			}
			regs[i] = g
		})
	}
	wg.Wait()
	w := follow(t, m.registry(a.Address()), service)
	var won discovery.Instance
	eventually(t, "one registration whose owner may change it", within, func() error {
		s := w.untilIDs(in.ID)
		owners := 0
		for i, g := range regs {
			if g == nil {
				continue
			}
			if err := g.Update(t.Context(), rivals[i]); err == nil {
				owners++
				won = rivals[i]
			} else if !errors.Is(err, discovery.ErrDuplicateID) {
				t.Fatalf("rival %d: %v", i, err)
			}
		}
		if owners != 1 || s.Instances[0].Addr != won.Addr {
			return errors.New("more than one, or none")
		}
		return nil
	})
	// The losers leave, and the winner stays.
	for i, g := range regs {
		if g != nil && rivals[i].Addr != won.Addr {
			if err := g.Close(); err != nil {
				t.Errorf("rival %d: %v", i, err)
			}
		}
	}
	if e := entry(t, a, in.ID); e == nil || e.Service.Port == 0 || e.Checks.AggregatedStatus() != api.HealthPassing {
		t.Errorf("the catalog shows %+v", e)
	}
	if s := w.untilIDs(in.ID); s.Instances[0].Addr != won.Addr {
		t.Errorf("%s remains, want %s", s.Instances[0].Addr, won.Addr)
	}
	for i, g := range regs {
		if g != nil && rivals[i].Addr == won.Addr {
			if err := g.Close(); err != nil {
				t.Errorf("the winner: %v", err)
			}
		}
	}
	w.untilIDs()
}

// TestOneIDOnTwoAgentsIsTwoInstances shows what Consul allows: an ID is unique to its agent only.
func TestOneIDOnTwoAgentsIsTwoInstances(t *testing.T) {
	t.Parallel()
	c := agent.StartCluster(t, 3)
	m := newMesh(t)
	in, other := instance(), instance()
	other.ID, other.Addr = in.ID, "127.0.0.1:7555"
	register(t, m.registry(c.Servers[0].Address()), in)
	register(t, m.registry(c.Servers[1].Address()), other)
	s := follow(t, m.registry(c.Servers[2].Address()), service).until("two instances", func(s discovery.Snapshot) bool {
		return len(s.Instances) == 2
	})
	addrs := map[string]bool{s.Instances[0].Addr: true, s.Instances[1].Addr: true}
	if s.Instances[0].ID == s.Instances[1].ID || !addrs[in.Addr] || !addrs[other.Addr] {
		t.Errorf("snapshot %+v", s)
	}
}
