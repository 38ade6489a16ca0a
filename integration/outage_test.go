package integration

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/consul"
	"github.com/linkmesh/link/integration/internal/agent"
)

// outage is how long the agent is dead in these tests. It stands for ten minutes: it is twice as
// long as the checks live without heartbeats, and as long as anything here holds or backs off. Ten
// minutes pass on virtual time in discovery/consul's own tests.
const outage = 2 * checkTTL

// TestNodesCallOnWhileTheAgentIsDead makes calls that are never sent twice, so that each failure
// counts.
func TestNodesCallOnWhileTheAgentIsDead(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{Durable: true})
	m := newMesh(t)
	one := m.serve(m.registry(a.Address()), link.Config{})
	two := m.serve(m.registry(a.Address()), link.Config{})
	client := m.client(m.registry(a.Address()))
	untilAnswered(t, client, one, two)

	tr := startTraffic(t, client, write)
	tr.through(100)
	a.Kill()
	before := [2]int{tr.answered(one.Instance()), tr.answered(two.Instance())}
	tr.lasts(outage)
	if tr.answered(one.Instance()) == before[0] || tr.answered(two.Instance()) == before[1] {
		t.Error("one of the servers got no calls while the agent was dead")
	}

	a.Restart()
	three := m.serve(m.registry(a.Address()), link.Config{})
	eventually(t, "a call of the new server", within, func() error {
		if tr.answered(three.Instance()) == 0 {
			return errors.New("none")
		}
		return nil
	})
	tr.through(100)
	tr.stop()
}

// TestRegistrationsAreBackAfterAnEmptyRestart loses everything that Consul knows.
func TestRegistrationsAreBackAfterAnEmptyRestart(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	m := newMesh(t)
	var servers []*server
	for range 3 {
		servers = append(servers, m.serve(m.registry(a.Address()), link.Config{Tags: []string{"v2"}}))
	}
	client := m.client(m.registry(a.Address()))
	untilAnswered(t, client, servers...)
	w := follow(t, m.registry(a.Address()), service)
	w.until("three instances", func(s discovery.Snapshot) bool { return len(s.Instances) == 3 })

	tr := startTraffic(t, client, write)
	tr.through(100)
	a.RestartEmpty()
	eventually(t, "all three registrations", within, func() error {
		for _, s := range servers {
			if c := ttlCheck(entry(t, a, s.Instance())); c == nil || c.Status != "passing" {
				return fmt.Errorf("%s: %+v", s.Instance(), c)
			}
		}
		return nil
	})
	tr.through(400)
	tr.stop()
	w.until("three instances, no longer stale", func(s discovery.Snapshot) bool { return len(s.Instances) == 3 && !s.Stale })
	w.neverBelow(3)
}

// TestAnInstanceThatDiesWhileTheAgentIsDeadCostsNoCall kills a server that the registry cannot
// withdraw.
func TestAnInstanceThatDiesWhileTheAgentIsDeadCostsNoCall(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	m := newMesh(t)
	one := m.serve(m.registry(a.Address()), link.Config{})
	two := m.spawn(a.Address())
	client := m.client(m.registry(a.Address()))
	tr := startTraffic(t, client, read)
	eventually(t, "an answer of both", within, func() error {
		if tr.answered(one.Instance()) == 0 || tr.answered(two.id) == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	a.Kill()
	two.kill()
	tr.lasts(10 * time.Second)
	tr.stop()
}

// TestAColdStartWithoutConsulUsesWhatWasKnown starts a client while the agent is dead, with the
// state directory of one that ran before.
func TestAColdStartWithoutConsulUsesWhatWasKnown(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	m := newMesh(t)
	s := m.serve(m.registry(a.Address()), link.Config{})
	dir := filepath.Join(t.TempDir(), "state")
	kept := func(c *consul.Config) { c.StateDir = dir }
	first := m.registry(a.Address(), kept)
	follow(t, first, service).untilIDs(s.Instance())
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	a.Kill()

	second := m.registry(a.Address(), kept)
	w := follow(t, second, service)
	last := w.until("an instance from disk", func(s discovery.Snapshot) bool { return len(s.Instances) == 1 })
	if !last.Stale || last.Reason == "" || !same(last.Instances, s.Instance()) {
		t.Errorf("snapshot %+v", last)
	}
	if id, err := ask(t.Context(), m.client(second)); err != nil || id != s.Instance() {
		t.Errorf("answered by %q: %v", id, err)
	}
}

// TestAFrozenAgentStopsNobody freezes the agent: it takes connections and answers nothing.
func TestAFrozenAgentStopsNobody(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	m := newMesh(t)
	one := m.serve(m.registry(a.Address()), link.Config{})
	two := m.serve(m.registry(a.Address()), link.Config{})
	client := m.client(m.registry(a.Address()))
	untilAnswered(t, client, one, two)
	tr := startTraffic(t, client, write)
	tr.through(100)
	a.Stop()
	tr.through(100)
	two.stop() // it leaves though the agent never answers
	tr.lasts(checkTTL)
	a.Cont()
	eventually(t, "the heartbeat", within, hasStatus(t, a, one.Instance(), "passing"))
	tr.stop()
}
