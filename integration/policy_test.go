package integration

import (
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/integration/internal/agent"
)

// nextPolicy waits for a document.
func nextPolicy(t *testing.T, policies <-chan discovery.PolicyDocument, want string) {
	t.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	for {
		select {
		case p, ok := <-policies:
			switch {
			case !ok:
				t.Fatal("the watch ended")
			case p.Origin == "":
				t.Errorf("a document from nowhere: %+v", p)
			case string(p.Document) == want:
				return
			}
		case <-timer.C:
			t.Fatalf("no document %q within %v", want, within)
		}
	}
}

// TestPoliciesFollowTheKeyValueStore writes, changes and deletes a document.
func TestPoliciesFollowTheKeyValueStore(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	m := newMesh(t)
	r := m.registry(a.Address())
	for key, q := range map[string]discovery.Query{
		"link/topology/orders":      {Service: service},
		"link/topology/shop/orders": {Service: service, Namespace: "shop"},
	} {
		var watcher discovery.PolicyWatcher = r
		policies, err := watcher.WatchPolicy(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		nextPolicy(t, policies, "")
		for _, text := range []string{"version: link/v1\n", "version: link/v1\nservices: {}\n"} {
			if _, err := a.Client().KV().Put(&api.KVPair{Key: key, Value: []byte(text)}, nil); err != nil {
				t.Fatal(err)
			}
			nextPolicy(t, policies, text)
		}
		if _, err := a.Client().KV().Delete(key, nil); err != nil {
			t.Fatal(err)
		}
		nextPolicy(t, policies, "")
	}
}

// TestAPolicyOutlivesConsul kills the agent: the last document stays in force.
func TestAPolicyOutlivesConsul(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{Durable: true})
	m := newMesh(t)
	r := m.registry(a.Address())
	policies, err := r.WatchPolicy(t.Context(), discovery.Query{Service: service})
	if err != nil {
		t.Fatal(err)
	}
	put := func(text string) {
		t.Helper()
		if _, err := a.Client().KV().Put(&api.KVPair{Key: "link/topology/" + service, Value: []byte(text)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	put("one")
	nextPolicy(t, policies, "one")
	w := follow(t, r, service)
	w.untilIDs()
	a.Kill()
	w.until("a word that Consul is gone", func(s discovery.Snapshot) bool { return s.Stale })
	a.Restart()
	put("two")
	timer := time.NewTimer(within)
	defer timer.Stop()
	for {
		select {
		case p := <-policies:
			if string(p.Document) == "two" {
				return
			}
			if string(p.Document) != "one" {
				t.Errorf("document %q", p.Document)
			}
		case <-timer.C:
			t.Fatalf("no new document within %v", within)
		}
	}
}
