package integration

import (
	"testing"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/consul"
	"github.com/linkmesh/link/integration/internal/agent"
)

// inTwoDatacenters registers one instance in each of two datacenters and follows both from the first.
func inTwoDatacenters(t *testing.T, durable bool) (east, west *agent.Agent, w *watch, here, there discovery.Instance) {
	t.Helper()
	east = agent.Start(t, agent.Config{Datacenter: "east", WAN: true})
	west = agent.Start(t, agent.Config{Datacenter: "west", WAN: true, Durable: durable})
	east.JoinWAN(west)
	m := newMesh(t)
	here, there = instance(), instance()
	register(t, m.registry(east.Address()), here)
	register(t, m.registry(west.Address()), there)

	r := m.registry(east.Address(), func(c *consul.Config) { c.Datacenters = []string{"west"} })
	w = follow(t, r, service)
	s := w.untilIDs(here.ID, there.ID)
	for _, in := range s.Instances {
		if want := map[string]string{here.ID: "east", there.ID: "west"}[in.ID]; in.Datacenter() != want {
			t.Errorf("%s is in %q, want %q", in.ID, in.Datacenter(), want)
		}
	}
	return east, west, w, here, there
}

// TestADatacenterThatFailsFreezesOnlyItself follows two and kills one.
func TestADatacenterThatFailsFreezesOnlyItself(t *testing.T) {
	t.Parallel()
	east, west, w, here, there := inTwoDatacenters(t, true)
	west.Kill()
	w.until("a word that the west is stale", func(s discovery.Snapshot) bool { return s.Stale })
	next := instance()
	g := register(t, newMesh(t).registry(east.Address()), next)
	w.until("what is new in the east", func(s discovery.Snapshot) bool { return same(s.Instances, here.ID, there.ID, next.ID) })
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	w.until("what is gone from the east", func(s discovery.Snapshot) bool { return same(s.Instances, here.ID, there.ID) })

	west.Restart()
	east.JoinWAN(west)
	w.untilIDs(here.ID, there.ID)
	w.neverBelow(2)
}

// TestADatacenterThatComesBackEmptyIsDoubted loses all that one of two datacenters knows. Its
// instances register again, and until then they stay.
func TestADatacenterThatComesBackEmptyIsDoubted(t *testing.T) {
	t.Parallel()
	east, west, w, here, there := inTwoDatacenters(t, false)
	west.Kill()
	w.until("a word that the west is stale", func(s discovery.Snapshot) bool { return s.Stale })
	west.RestartEmpty()
	east.JoinWAN(west)
	w.untilIDs(here.ID, there.ID)
	w.neverBelow(2)
}
