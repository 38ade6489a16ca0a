package integration

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/integration/internal/agent"
)

// leaderlessFor is how long there is no leader: longer than a check lives without heartbeats.
const leaderlessFor = checkTTL + time.Second

// leaderless returns why an agent seems to have a leader: it names one, or takes what only a leader
// can decide.
func leaderless(a *agent.Agent) func() error {
	return func() error {
		leader, err := a.Client().Status().Leader()
		if err != nil {
			return err
		}
		if leader != "" {
			return fmt.Errorf("the leader is %s", leader)
		}
		_, _, err = a.Client().Catalog().Services(&api.QueryOptions{RequireConsistent: true})
		if err == nil {
			return errors.New("a consistent read succeeded")
		}
		if !strings.Contains(err.Error(), "No cluster leader") {
			return fmt.Errorf("a consistent read: %w", err)
		}
		return nil
	}
}

// TestALostLeaderCostsNoCall kills the leader of three servers, then a second one, so that nobody
// leads, and starts them again.
func TestALostLeaderCostsNoCall(t *testing.T) {
	t.Parallel()
	c := agent.StartCluster(t, 3)
	m := newMesh(t)
	leader, followers := c.Leader(), c.Followers()
	near, far := followers[0], followers[1]
	one := m.serve(m.registry(near.Address()), link.Config{})
	two := m.serve(m.registry(near.Address()), link.Config{})
	r := m.registry(near.Address())
	client := m.client(r)
	untilAnswered(t, client, one, two)
	w := follow(t, r, service)
	w.untilIDs(one.Instance(), two.Instance())

	tr := startTraffic(t, client, write)
	tr.through(100)
	leader.Kill()
	c.Leader()
	three := m.serve(m.registry(near.Address()), link.Config{})
	w.until("the server that came after the election", func(s discovery.Snapshot) bool {
		return same(s.Instances, one.Instance(), two.Instance(), three.Instance())
	})

	far.Kill() // one of three is left, which can elect nobody
	eventually(t, "the loss of the leader", within, leaderless(near))
	tr.lasts(leaderlessFor)
	if err := leaderless(near)(); err != nil {
		t.Errorf("after %v: %v", leaderlessFor, err)
	}
	leader.Restart()
	far.Restart()
	c.Leader()
	four := m.serve(m.registry(near.Address()), link.Config{})
	w.untilIDs(one.Instance(), two.Instance(), three.Instance(), four.Instance())
	tr.stop()
	w.neverBelow(2)
}

// TestInstancesAreSeenFromEveryAgent registers with one agent and looks from the others.
func TestInstancesAreSeenFromEveryAgent(t *testing.T) {
	t.Parallel()
	c := agent.StartCluster(t, 3)
	m := newMesh(t)
	in := instance()
	g := register(t, m.registry(c.Servers[0].Address()), in)
	var watches []*watch
	for _, a := range c.Servers {
		watches = append(watches, follow(t, m.registry(a.Address()), service))
	}
	for _, w := range watches {
		w.untilIDs(in.ID)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	for _, w := range watches {
		w.untilIDs()
	}
}
