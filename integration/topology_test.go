package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/integration/internal/agent"
	"github.com/linkmesh/link/topology"
)

const (
	// policyKey is where the document about service is.
	policyKey = "link/topology/" + service

	// obeyed is how soon a node follows a document that has changed, on a quiet machine.
	obeyed = 2 * time.Second

	// other is another service, without tags.
	other = "billing"

	// sample is how many calls show where calls go.
	sample = 40
)

// routeTo is a document that sends the calls of service to target: one of the tags of the servers.
func routeTo(target string) string {
	return `version: link/v1
services:
  orders:
    subsets:
      stable: { tags: [stable] }
      canary: { tags: [canary] }
      beta: { tags: [beta] }
    routes: [{ to: ` + target + ` }]
`
}

// putPolicy writes the document about service.
func putPolicy(t *testing.T, a *agent.Agent, text string) {
	t.Helper()
	if _, err := a.Client().KV().Put(&api.KVPair{Key: policyKey, Value: []byte(text)}, nil); err != nil {
		t.Fatal(err)
	}
}

// deletePolicy removes it.
func deletePolicy(t *testing.T, a *agent.Agent) {
	t.Helper()
	if _, err := a.Client().KV().Delete(policyKey, nil); err != nil {
		t.Fatal(err)
	}
}

// serveTags starts a server for each tag and returns who is who.
func (m *mesh) serveTags(a *agent.Agent, tags ...string) map[string]string {
	m.t.Helper()
	byID := make(map[string]string)
	for _, tag := range tags {
		byID[m.serve(m.registry(a.Address()), link.Config{Tags: []string{tag}}).Instance()] = tag
	}
	return byID
}

// share makes calls and says how many each tag got.
func share(t *testing.T, client *link.Node, byID map[string]string) map[string]int {
	t.Helper()
	got := make(map[string]int)
	for range sample {
		id, err := ask(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		got[byID[id]]++
	}
	return got
}

// anybody is what goes takes for calls that no document restrains.
const anybody = ""

// goes returns why calls do not go where want says: to the servers with that tag alone, or to
// anybody. Where a few calls happen to go is not enough to know, as the fastest server may get them
// all, so it also asks for each server by its tag: only where the document allows one is it found.
func goes(t *testing.T, client *link.Node, byID map[string]string, want string) error {
	t.Helper()
	if got := share(t, client, byID); want != anybody && got[want] != sample {
		return fmt.Errorf("answered by %v, want %s alone", got, want)
	}
	for id, tag := range byID {
		if tag == other {
			continue
		}
		switch by, err := ask(t.Context(), client, link.OnTags(tag)); {
		case want != anybody && want != tag:
			if err == nil {
				return fmt.Errorf("a call for %s is answered by %s", tag, byID[by])
			}
			if !errors.Is(err, link.Unavailable) {
				return fmt.Errorf("a call for %s: %w", tag, err)
			}
		case err != nil:
			return fmt.Errorf("a call for %s: %w", tag, err)
		case by != id:
			return fmt.Errorf("a call for %s is answered by %s", tag, byID[by])
		}
	}
	return nil
}

// follows waits until all calls go where they should, and makes sure that they still do.
func follows(t *testing.T, name string, client *link.Node, byID map[string]string, want string, limit time.Duration) {
	t.Helper()
	begin := time.Now()
	eventually(t, fmt.Sprintf("%s: calls to %q", name, want), limit, func() error { return goes(t, client, byID, want) })
	t.Logf("%s: calls to %q, after %v", name, want, time.Since(begin).Round(time.Millisecond))
	if err := goes(t, client, byID, want); err != nil {
		t.Errorf("%s: afterwards %v", name, err)
	}
}

// TestADocumentInConsulRoutesCalls has the document there before the node.
func TestADocumentInConsulRoutesCalls(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	m := newMesh(t)
	byID := m.serveTags(a, "stable", "canary")
	putPolicy(t, a, routeTo("stable"))
	client := m.client(m.registry(a.Address()))
	if err := goes(t, client, byID, "stable"); err != nil {
		t.Errorf("the first calls: %v", err)
	}
	for _, tag := range []string{"canary", "stable", "canary"} {
		putPolicy(t, a, routeTo(tag))
		follows(t, "changed", client, byID, tag, paced(t, a, obeyed))
	}
	putPolicy(t, a, routeTo("nowhere"))
	eventually(t, "a word that the document is wrong", within, func() error { return refusal(client, "nowhere") })
	if err := goes(t, client, byID, "canary"); err != nil {
		t.Errorf("with a wrong document: %v", err)
	}
	deletePolicy(t, a)
	follows(t, "removed", client, byID, anybody, paced(t, a, obeyed))
	if s := client.Status().Topology; len(s) > 0 {
		t.Errorf("documents %+v, want none", s)
	}
}

// refusal returns nil if the node says that the document in Consul is not in force, and why.
func refusal(client *link.Node, why string) error {
	for _, s := range client.Status().Topology {
		if !strings.Contains(s.Origin, policyKey) || s.Err == nil {
			continue
		}
		if !strings.Contains(s.Err.Error(), why) {
			return fmt.Errorf("the reason is %w", s.Err)
		}
		return nil
	}
	return errors.New("it is not said")
}

// TestLaterSourcesOfTheTopologyOverrideEarlierOnes follows nodes with different sources while the
// document in Consul comes and goes.
func TestLaterSourcesOfTheTopologyOverrideEarlierOnes(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	m := newMesh(t)
	byID := m.serveTags(a, "stable", "canary", "beta")
	file := filepath.Join(t.TempDir(), "topology.yaml")
	if err := os.WriteFile(file, []byte(routeTo("stable")), 0o600); err != nil {
		t.Fatal(err)
	}
	code, err := topology.Parse("code", []byte(routeTo("beta")))
	if err != nil {
		t.Fatal(err)
	}
	nodes := []struct {
		name          string
		cfg           link.Config
		without, with string // the document in Consul
		client        *link.Node
	}{
		{name: "Consul alone", cfg: link.Config{}, without: anybody, with: "canary"},
		{name: "a file", cfg: link.Config{Routing: link.Routing{TopologyFile: file}}, without: "stable", with: "canary"},
		{name: "a file and code", cfg: link.Config{Routing: link.Routing{TopologyFile: file, Topology: code}}, without: "beta", with: "beta"},
	}
	for i := range nodes {
		n := &nodes[i]
		n.client = m.node("", m.registry(a.Address()), n.cfg)
		eventually(t, n.name+": all servers", within, func() error {
			in, err := n.client.Instances(t.Context(), service)
			if err == nil && len(in) != len(byID) {
				err = fmt.Errorf("%d instances", len(in))
			}
			return err
		})
		if err := goes(t, n.client, byID, n.without); err != nil {
			t.Errorf("%s, nothing in Consul: %v", n.name, err)
		}
	}
	putPolicy(t, a, routeTo("canary"))
	for _, n := range nodes {
		follows(t, n.name+", one in Consul", n.client, byID, n.with, paced(t, a, obeyed))
	}
	deletePolicy(t, a)
	for _, n := range nodes {
		follows(t, n.name+", removed from Consul", n.client, byID, n.without, paced(t, a, obeyed))
	}
}

// TestARedirectInConsulNeedsConsent sends calls of one service to another.
func TestARedirectInConsulNeedsConsent(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	m := newMesh(t)
	byID := m.serveTags(a, "stable", "canary")
	elsewhere := m.start(other, m.registry(a.Address()), link.Config{})
	<-elsewhere.Ready()
	byID[elsewhere.Instance()] = other

	careful := m.client(m.registry(a.Address()))
	trusting := m.node("", m.registry(a.Address()), link.Config{Routing: link.Routing{AllowRedirect: []string{other}}})
	putPolicy(t, a, routeTo("stable"))
	follows(t, "without consent, before", careful, byID, "stable", within)
	follows(t, "with consent, before", trusting, byID, "stable", within)

	putPolicy(t, a, routeTo("service:"+other))
	follows(t, "with consent", trusting, byID, other, paced(t, a, obeyed))
	eventually(t, "a word that the document is refused", paced(t, a, obeyed), func() error { return refusal(careful, "AllowRedirect") })
	if err := goes(t, careful, byID, "stable"); err != nil {
		t.Errorf("without consent: %v", err)
	}
	// Nor does a node that knew no document before.
	late := m.client(m.registry(a.Address()))
	if got := share(t, late, byID); got[other] > 0 {
		t.Errorf("a new node without consent: %v", got)
	}
	putPolicy(t, a, routeTo("canary"))
	follows(t, "without consent, afterwards", careful, byID, "canary", paced(t, a, obeyed))
}
