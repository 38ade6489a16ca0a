package integration

import (
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/integration/internal/agent"
	"github.com/linkmesh/link/integration/internal/proxy"
)

// TestAnAgentThatRefusesConnectionsIsLeftInPeace lets the agent allow fewer connections than the
// watches of one process would take. It has no proxy, which would hold connections of its own.
func TestAnAgentThatRefusesConnectionsIsLeftInPeace(t *testing.T) {
	t.Parallel()
	const allowed, services = 20, 100
	a := agent.Start(t, agent.Config{MaxConnections: allowed})
	m := newMesh(t)
	writer := m.registry(a.Address())
	r := m.registry(a.Address())
	name := func(i int) string { return "service-" + strconv.Itoa(i) }
	var watches []*watch
	for i := range services {
		watches = append(watches, follow(t, r, name(i)))
	}
	in := instance()
	in.Service = name(services / 2)
	// The agent refuses the writer as well, as long as the watches take all connections.
	eventually(t, "a registration", within, func() error {
		g, err := writer.Register(t.Context(), in)
		if err == nil {
			t.Cleanup(func() { _ = g.Close() })
		}
		return err
	})
	good := func(want ...string) func(discovery.Snapshot) bool {
		return func(s discovery.Snapshot) bool { return !s.Stale && same(s.Instances, want...) }
	}
	for i, w := range watches {
		if i != services/2 {
			w.untilWithin(within, "a good answer", good())
		}
	}
	watches[services/2].untilWithin(within, "the instance", good(in.ID))
	watches[services/2].neverBelow(1)
	if m.log.lines("429") == 0 {
		t.Error("the agent refused nothing, so nothing was tested")
	}
}

// TestTwoThousandServicesStayWithinTheConnectionLimit watches far more services than a process may
// wait for at once, over several rounds of questions.
func TestTwoThousandServicesStayWithinTheConnectionLimit(t *testing.T) {
	t.Parallel()
	const services, rounds = 2000, 3
	a := agent.Start(t, agent.Config{})
	name := func(i int) string { return "service-" + strconv.Itoa(i) }
	add := func(i int, id string) {
		t.Helper()
		_, err := a.Client().Catalog().Register(&api.CatalogRegistration{
			Node: "elsewhere", Address: "127.0.0.1", SkipNodeUpdate: true,
			Service: &api.AgentService{
				ID: id, Service: name(i), Address: "127.0.0.1", Port: 7443,
				Tags: []string{"link-ns-default"},
				Meta: map[string]string{"link-proto": "1", "link-ns": discovery.DefaultNamespace},
			},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Client().Catalog().Register(&api.CatalogRegistration{Node: "elsewhere", Address: "127.0.0.1"}, nil); err != nil {
		t.Fatal(err)
	}
	for i := range services {
		add(i, name(i)+"-a")
	}

	p := proxy.Start(t, a.URL())
	m := newMesh(t)
	r := m.registry(p.Address())
	begin := time.Now()
	watches := make([]*watch, services)
	for i := range watches {
		watches[i] = follow(t, r, name(i))
	}
	for i, w := range watches {
		w.untilIDs(name(i) + "-a")
	}
	t.Logf("the first snapshots took %v", time.Since(begin).Round(time.Millisecond))

	for range rounds {
		p.Forget()
		asked := make(map[string]bool)
		p.Await("a question about each service", func(r proxy.Request) bool {
			if queriesService(r) {
				asked[r.Path] = true
			}
			// Those that wait in the agent ask no more.
			return len(asked) >= services-maxBlocking
		})
	}
	// A change of any of them is seen, at the rate of the questions.
	begin = time.Now()
	var wg sync.WaitGroup
	for i := 0; i < services; i += 100 {
		add(i, name(i)+"-b")
		wg.Go(func() { watches[i].untilIDs(name(i)+"-a", name(i)+"-b") })
	}
	wg.Wait()
	took := time.Since(begin)

	_, peak := p.Connections()
	rate := p.PeakRate()
	t.Logf("%d connections at once, %d requests in a second, a change took %v at most", peak, rate, took.Round(time.Millisecond))
	if peak > connectionLimit {
		t.Errorf("%d connections at once, want at most %d", peak, connectionLimit)
	}
	if n := p.Count(func(r proxy.Request) bool { return r.Status == http.StatusTooManyRequests }); n > 0 {
		t.Errorf("the agent refused %d requests", n)
	}
}
