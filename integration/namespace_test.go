package integration

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/integration/internal/agent"
)

// TestConsulShowsWhatACheckMeans reads what a person sees in Consul's UI: who lives there, and what
// the check is.
func TestConsulShowsWhatACheckMeans(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{PromptOutputs: true})
	m := newMesh(t)
	in := instance()
	register(t, m.registry(a.Address()), in)
	eventually(t, "what the check says", within, func() error {
		c := ttlCheck(entry(t, a, in.ID))
		if c == nil {
			return errors.New("there is no check")
		}
		for _, text := range []string{"alive: process ", in.Addr, "namespace default"} {
			if !strings.Contains(c.Output, text) {
				return fmt.Errorf("its output is %q, which lacks %q", c.Output, text)
			}
		}
		if !strings.Contains(c.Notes, "renews this check") {
			return fmt.Errorf("its notes are %q", c.Notes)
		}
		return nil
	})
}

// TestConsulFiltersNamespaces has one service in two namespaces: Consul itself tells them apart, by
// a tag, for watches and for everybody else.
func TestConsulFiltersNamespaces(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	m := newMesh(t)
	here, there := instance(), instance()
	there.ID, there.Namespace = discovery.NewInstanceID(service), "blue"
	register(t, m.registry(a.Address()), here)
	register(t, m.registry(a.Address()), there)
	follow(t, m.registry(a.Address()), service).untilIDs(here.ID)
	for namespace, id := range map[string]string{"default": here.ID, "blue": there.ID} {
		byTag, _, err := a.Client().Health().Service(service, "link-ns-"+namespace, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		byFilter, _, err := a.Client().Health().Service(service, "", false, &api.QueryOptions{Filter: `"link-ns-` + namespace + `" in Service.Tags`})
		if err != nil {
			t.Fatal(err)
		}
		for _, list := range [][]*api.ServiceEntry{byTag, byFilter} {
			if len(list) != 1 || list[0].Service.ID != id {
				t.Errorf("namespace %s: %d entries, want %s", namespace, len(list), id)
			}
		}
	}
}
