package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/integration/internal/agent"
)

var errNoDatabase = errors.New("the database is gone")

// TestATagFollowsItsProbeInTheCatalog lets a probe fail, succeed and fail again.
func TestATagFollowsItsProbeInTheCatalog(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	m := newMesh(t)
	var up atomic.Bool
	s := m.serve(m.registry(a.Address()), link.Config{
		Tags: []string{"v2"},
		Monitors: map[string]func(context.Context) error{"db": func(context.Context) error {
			if !up.Load() {
				return errNoDatabase
			}
			return nil
		}},
	})
	r := m.registry(a.Address())
	client := m.client(r)
	untilAnswered(t, client, s)
	w := follow(t, r, service)
	w.untilIDs(s.Instance())
	first := entry(t, a, s.Instance())
	tr := startTraffic(t, client, write)

	// shows returns why the catalog, and then the mesh, does not show the tags. The instance must be
	// the one that was registered at first, and healthy, whatever its tags are.
	shows := func(want ...string) func() error {
		return func() error {
			e := entry(t, a, s.Instance())
			if e == nil {
				t.Fatal("the instance is gone from the catalog")
			}
			if e.Service.CreateIndex != first.Service.CreateIndex {
				t.Fatal("the instance was gone from the catalog and is back")
			}
			if e.Checks.AggregatedStatus() != api.HealthPassing {
				t.Fatalf("the instance is %s", e.Checks.AggregatedStatus())
			}
			if !slices.Equal(slices.Sorted(slices.Values(e.Service.Tags)), slices.Sorted(slices.Values(append([]string{"link-ns-default"}, want...)))) {
				return fmt.Errorf("the tags are %q", e.Service.Tags)
			}
			return nil
		}
	}
	if err := shows("v2")(); err != nil {
		t.Errorf("while the probe fails: %v", err)
	}
	for _, step := range []struct {
		up   bool
		want []string
	}{{true, []string{"db", "v2"}}, {false, []string{"v2"}}, {true, []string{"db", "v2"}}} {
		up.Store(step.up)
		eventually(t, fmt.Sprintf("the tags %q in the catalog", step.want), within, shows(step.want...))
		w.until(fmt.Sprintf("the tags %q", step.want), func(s discovery.Snapshot) bool {
			return len(s.Instances) == 1 && slices.Equal(slices.Sorted(slices.Values(s.Instances[0].Tags)), step.want)
		})
		eventually(t, "calls to follow the tag", within, func() error {
			_, err := ask(t.Context(), client, link.OnTags("db"))
			switch {
			case step.up:
				return err
			case err == nil:
				return errors.New("a call to the tag is answered")
			case !errors.Is(err, link.Unavailable):
				return err
			}
			return nil
		})
		tr.through(50)
	}
	tr.stop()
	w.neverBelow(1)
}
