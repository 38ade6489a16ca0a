package integration

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/integration/internal/agent"
)

// Change to pick: how soon a change in Consul is a change of who is called. These tests run alone,
// as they measure; of five rounds the median counts, as one may meet a busy moment.
const (
	soon   = time.Second // on a quiet machine, see [paced]
	rounds = 5
)

// median fails the test if the rounds took too long.
func median(t *testing.T, a *agent.Agent, what string, took []time.Duration) {
	t.Helper()
	slices.Sort(took)
	limit := paced(t, a, soon)
	t.Logf("%s: %v; at most %v", what, took, limit)
	if m := took[len(took)/2]; m > limit {
		t.Errorf("%s: a median of %v, want at most %v", what, m, limit)
	}
}

// TestANewInstanceIsCalledWithinASecond adds a server to one that is there.
//
//nolint:paralleltest // it measures
func TestANewInstanceIsCalledWithinASecond(t *testing.T) {
	a := agent.Start(t, agent.Config{})
	var took []time.Duration
	for range rounds {
		m := newMesh(t)
		one := m.serve(m.registry(a.Address()), link.Config{})
		client := m.client(m.registry(a.Address()))
		untilAnswered(t, client, one)
		two := m.serve(m.registry(a.Address()), link.Config{})
		begin := time.Now()
		untilAnswered(t, client, two)
		took = append(took, time.Since(begin))
		one.stop()
		two.stop()
	}
	median(t, a, "a second instance", took)
}

// TestTheFirstInstanceIsCalledWithinASecond lets a call wait for a service that nobody serves yet.
//
//nolint:paralleltest // it measures
func TestTheFirstInstanceIsCalledWithinASecond(t *testing.T) {
	a := agent.Start(t, agent.Config{})
	var took []time.Duration
	for range rounds {
		m := newMesh(t)
		client := m.client(m.registry(a.Address()))
		// The watch is there before the service is.
		if found, err := client.Instances(t.Context(), service); err != nil || len(found) != 0 {
			t.Fatalf("found %v, %v", found, err)
		}
		done := make(chan time.Time, 1)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := ask(t.Context(), client, link.WaitForReady()); err != nil {
				t.Error(err)
			}
			done <- time.Now()
		})
		s := m.serve(m.registry(a.Address()), link.Config{})
		begin := time.Now()
		took = append(took, max((<-done).Sub(begin), 0))
		wg.Wait()
		s.stop()
	}
	median(t, a, "the first instance", took)
}

// TestADrainedInstanceGetsNoNewCall drains through the registry only, so that nothing but Consul
// tells the client: maintenance mode, as an operator sets it.
//
//nolint:paralleltest // it measures
func TestADrainedInstanceGetsNoNewCall(t *testing.T) {
	a := agent.Start(t, agent.Config{})
	var took []time.Duration
	for range rounds {
		m := newMesh(t)
		r := m.registry(a.Address())
		one, two := m.start(service, nothing{}, link.Config{}), m.start(service, nothing{}, link.Config{})
		<-one.Ready()
		<-two.Ready()
		in := discovery.Instance{ID: one.Instance(), Service: service, Addr: one.Addr()}
		g := register(t, r, in)
		other := register(t, r, discovery.Instance{ID: two.Instance(), Service: service, Addr: two.Addr()})
		client := m.client(m.registry(a.Address()))
		untilAnswered(t, client, one, two)
		tr := startTraffic(t, client, write)
		tr.through(50)
		in.Status = discovery.Draining
		if err := g.Update(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		tr.through(int(2 * soon * callers / callEvery)) // twice as long as it may take
		tr.stop()
		took = append(took, max(time.Unix(0, one.last.Load()).Sub(begin), 0))
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		if err := other.Close(); err != nil {
			t.Error(err)
		}
	}
	median(t, a, "the last call of a drained instance", took)
}

// TestAStoppingServerFailsNoCall replaces servers one by one under calls that are never sent twice.
func TestAStoppingServerFailsNoCall(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	m := newMesh(t)
	client := m.client(m.registry(a.Address()))
	servers := []*server{m.serve(m.registry(a.Address()), link.Config{}), m.serve(m.registry(a.Address()), link.Config{})}
	untilAnswered(t, client, servers...)
	tr := startTraffic(t, client, write)
	for range 4 {
		tr.through(100)
		next := m.serve(m.registry(a.Address()), link.Config{})
		eventually(t, "answers of the new server", within, func() error {
			if tr.answered(next.Instance()) == 0 {
				return errors.New("none so far")
			}
			return nil
		})
		servers = append(servers, next)
		servers[0].stop()
		servers = servers[1:]
	}
	tr.through(100)
	tr.stop()
}

// TestAKilledInstanceCostsNoIdempotentCall kills the processes of servers under calls, as kill -9
// does: Consul hears of it 15 s later.
func TestAKilledInstanceCostsNoIdempotentCall(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	m := newMesh(t)
	stays := m.serve(m.registry(a.Address()), link.Config{})
	client := m.client(m.registry(a.Address()))
	tr := startTraffic(t, client, read)
	for range 2 {
		c := m.spawn(a.Address())
		eventually(t, "answers of the one to be killed", within, func() error {
			if n := tr.answered(c.id); n < 20 {
				return fmt.Errorf("%d so far", n)
			}
			return nil
		})
		c.kill()
		tr.through(400)
	}
	tr.stop()
	if tr.answered(stays.Instance()) == 0 {
		t.Error("the one that stays was never called")
	}
}
