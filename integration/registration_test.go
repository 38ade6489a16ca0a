package integration

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/integration/internal/agent"
	"github.com/linkmesh/link/integration/internal/proxy"
)

// instance returns a valid instance of service with a new ID.
func instance() discovery.Instance {
	return discovery.Instance{ID: discovery.NewInstanceID(service), Service: service, Addr: "127.0.0.1:7443"}
}

// register announces in until the test ends, or the registration is closed before.
func register(t *testing.T, r discovery.Registry, in discovery.Instance) discovery.Registration {
	t.Helper()
	g, err := r.Register(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Errorf("closing registration %s: %v", in.ID, err)
		}
	})
	return g
}

// entry is what the catalog says of an instance, nil if nothing.
func entry(t *testing.T, a *agent.Agent, id string) *api.ServiceEntry {
	t.Helper()
	all, _, err := a.Client().Health().Service(service, "", false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.Service.ID == id {
			return e
		}
	}
	return nil
}

// check returns the TTL check of an entry.
func ttlCheck(e *api.ServiceEntry) *api.HealthCheck {
	if e == nil {
		return nil
	}
	i := slices.IndexFunc(e.Checks, func(c *api.HealthCheck) bool { return c.Type == "ttl" })
	if i < 0 {
		return nil
	}
	return e.Checks[i]
}

// inMaintenance returns the reason for which an entry is in maintenance, "" if it is not.
func inMaintenance(e *api.ServiceEntry) string {
	for _, c := range e.Checks {
		if strings.HasPrefix(c.CheckID, api.ServiceMaintPrefix) {
			return c.Notes
		}
	}
	return ""
}

// hasStatus returns why the TTL check of an instance is not as wanted.
func hasStatus(t *testing.T, a *agent.Agent, id, want string) func() error {
	t.Helper()
	return func() error {
		c := ttlCheck(entry(t, a, id))
		switch {
		case c == nil:
			return errors.New("there is no such check")
		case c.Status != want:
			return fmt.Errorf("the check is %s", c.Status)
		}
		return nil
	}
}

// TestARegistrationAsOthersSeeIt looks through Consul's own API.
func TestARegistrationAsOthersSeeIt(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	m := newMesh(t)
	in := instance()
	in.Addr, in.Tags, in.Meta, in.Weight = "127.0.0.1:7444", []string{"v2", "zone=eu-1a"}, map[string]string{"build": "7"}, 17
	g := register(t, m.registry(a.Address()), in)

	e := entry(t, a, in.ID)
	if e == nil {
		t.Fatal("the catalog does not show it when Register returns")
	}
	s := e.Service
	if s.Service != service || s.Address != "127.0.0.1" || s.Port != 7444 || !slices.Equal(s.Tags, append(slices.Clone(in.Tags), "link-ns-default")) {
		t.Errorf("registered as %+v", s)
	}
	if s.Meta["build"] != "7" || s.Meta["link-proto"] != "1" || s.EnableTagOverride {
		t.Errorf("meta %v, tag override %t", s.Meta, s.EnableTagOverride)
	}
	for key := range s.Meta {
		if key != "build" && !strings.HasPrefix(key, "link-") {
			t.Errorf("meta %q has no prefix", key)
		}
	}
	if s.Weights.Passing != 17 || s.Weights.Warning != 1 {
		t.Errorf("weights %+v", s.Weights)
	}
	if c := ttlCheck(e); c == nil || c.Status != api.HealthPassing {
		t.Errorf("check %+v", c)
	}

	in.Status = discovery.Draining
	if err := g.Update(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	eventually(t, "maintenance with a reason", within, func() error {
		if inMaintenance(entry(t, a, in.ID)) == "" {
			return errors.New("it is not in maintenance")
		}
		return nil
	})
	in.Status, in.Tags = discovery.Serving, []string{"v3"}
	if err := g.Update(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of maintenance, and the new tag", within, func() error {
		if e := entry(t, a, in.ID); inMaintenance(e) != "" || !slices.Equal(e.Service.Tags, append(slices.Clone(in.Tags), "link-ns-default")) {
			return fmt.Errorf("maintenance %q, tags %q", inMaintenance(e), e.Service.Tags)
		}
		return nil
	})
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if e := entry(t, a, in.ID); e != nil {
		t.Errorf("the catalog shows it after Close: %+v", e.Service)
	}
}

// isHeartbeat reports whether a request is one.
func isHeartbeat(r proxy.Request) bool { return strings.HasPrefix(r.Path, "/v1/agent/check/") }

// TestHeartbeatsKeepAnInstance lives longer than the check does without heartbeats, then loses them.
func TestHeartbeatsKeepAnInstance(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	p := proxy.Start(t, a.URL())
	m := newMesh(t)
	in := instance()
	register(t, m.registry(p.Address()), in)
	w := follow(t, m.registry(a.Address()), service)
	w.untilIDs(in.ID)

	beats := func() int {
		return p.Count(func(r proxy.Request) bool { return isHeartbeat(r) && r.Status == http.StatusOK })
	}
	begin := time.Now()
	const enough = int(checkTTL/heartbeatEvery) + 1
	eventually(t, "heartbeats beyond the TTL", within, func() error {
		if n := beats(); n < enough || time.Since(begin) < checkTTL {
			return fmt.Errorf("%d heartbeats", n)
		}
		return nil
	})
	if took := time.Since(begin); took < time.Duration(enough-1)*heartbeatEvery*8/10 {
		t.Errorf("%d heartbeats within %v", enough, took)
	}
	w.neverBelow(1)

	mend := p.Break(proxy.All(), proxy.Status(http.StatusInternalServerError))
	eventually(t, "critical", within, hasStatus(t, a, in.ID, api.HealthCritical))
	w.untilIDs()
	mend()
	eventually(t, "passing again", within, hasStatus(t, a, in.ID, api.HealthPassing))
	w.untilIDs(in.ID)
}

// TestADrainIsMaintenanceAndThenNothing drains a node that still works on a call.
func TestADrainIsMaintenanceAndThenNothing(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	m := newMesh(t)
	s := m.serve(m.registry(a.Address()), link.Config{})
	client := m.client(m.registry(a.Address()))
	held := make(chan error, 1)
	go func() {
		_, err := hold(t, client)
		held <- err
	}()
	eventually(t, "the call", within, func() error {
		if s.calls.Load() == 0 {
			return errors.New("not handled yet")
		}
		return nil
	})
	s.end()
	w := follow(t, m.registry(a.Address()), service)
	eventually(t, "maintenance", within, func() error {
		if e := entry(t, a, s.Instance()); e == nil || inMaintenance(e) == "" {
			return fmt.Errorf("the catalog shows %+v", e)
		}
		return nil
	})
	w.until("a draining instance", func(s discovery.Snapshot) bool {
		return len(s.Instances) == 1 && s.Instances[0].Status == discovery.Draining
	})
	s.release()
	if err := <-held; err != nil {
		t.Errorf("the call that ran: %v", err)
	}
	w.untilIDs()
	s.stop()
	if e := entry(t, a, s.Instance()); e != nil {
		t.Errorf("the catalog shows it after Run: %+v", e.Service)
	}
}

// TestACrashedInstanceIsOutAfterItsTTL kills the process of a server.
func TestACrashedInstanceIsOutAfterItsTTL(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	m := newMesh(t)
	c := m.spawn(a.Address())
	w := follow(t, m.registry(a.Address()), service)
	w.untilIDs(c.id)
	c.kill()
	w.untilIDs()
	if err := hasStatus(t, a, c.id, api.HealthCritical)(); err != nil {
		t.Error(err)
	}
}

// TestWhatIsNotOfLinkIsLeftOut registers services with Consul's own API.
func TestWhatIsNotOfLinkIsLeftOut(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	m := newMesh(t)
	err := a.Client().Agent().ServiceRegister(&api.AgentServiceRegistration{ID: "legacy", Name: service, Address: "127.0.0.1", Port: 80})
	if err != nil {
		t.Fatal(err)
	}
	in := instance()
	register(t, m.registry(a.Address()), in)
	w := follow(t, m.registry(a.Address()), service)
	w.untilIDs(in.ID)
	for _, s := range w.history() {
		if slices.Contains(ids(s.Instances), "legacy") {
			t.Errorf("snapshot %+v", s)
		}
	}
}
