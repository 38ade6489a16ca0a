package link_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/linktest"
)

// shared is the registry of the mesh as if others could write to it over the
// network. It delivers the documents of policy and lets change alter instances.
type shared struct {
	discovery.Registry

	policy chan discovery.PolicyDocument
	change func(*discovery.Instance)
	// origin is FromNetwork by default.
	origin discovery.Origin
}

func (s *shared) Watch(ctx context.Context, q discovery.Query) (<-chan discovery.Snapshot, error) {
	from, err := s.Registry.Watch(ctx, q)
	if err != nil {
		return nil, err
	}
	to := make(chan discovery.Snapshot, 1)
	go func() {
		defer close(to)
		for snapshot := range from {
			snapshot.Origin = s.origin
			snapshot.Instances = slices.Clone(snapshot.Instances)
			for i := range snapshot.Instances {
				if s.change != nil {
					s.change(&snapshot.Instances[i])
				}
			}
			select {
			case <-to:
			default:
			}
			to <- snapshot
		}
	}()
	return to, nil
}

func (s *shared) WatchPolicy(ctx context.Context, q discovery.Query) (<-chan discovery.PolicyDocument, error) {
	ch := make(chan discovery.PolicyDocument)
	go func() {
		defer close(ch)
		for {
			var p discovery.PolicyDocument
			if s.policy == nil || q.Service != "orders" {
				select {
				case ch <- p:
				case <-ctx.Done():
				}
				<-ctx.Done()
				return
			}
			select {
			case p = <-s.policy:
			case <-ctx.Done():
				return
			}
			select {
			case ch <- p:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ch, nil
}

func kv(text string) discovery.PolicyDocument {
	return discovery.PolicyDocument{Document: []byte(text), Origin: "KV link/topology/orders"}
}

func TestARegistrysTopologyIsFollowedAndBelievedOnlySoFar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "a")
		ordersAt(mesh, "b")
		serveCopies(mesh, "thief", link.Config{Tags: []string{"thief"}}, keep)
		registry := &shared{Registry: mesh.Registry(), policy: make(chan discovery.PolicyDocument, 1)}
		log := &logBuffer{}
		client := mesh.Node(link.Config{Registry: registry, Logger: log.logger()})
		registry.policy <- kv("version: link/v1\nservices: { orders: { subsets: { a: { tags: [a] } }, routes: [{ to: a }] } }\n")
		if got := tally(t, client, 20); got["a"] != 20 {
			t.Errorf("answers %v to the first calls, want all by a", got)
		}
		registry.policy <- kv("version: link/v1\nservices: { orders: { routes: [{ to: service:thief }] } }\n")
		sleep(time.Second)
		if got := tally(t, client, 20); got["a"] != 20 {
			t.Errorf("answers %v after a redirect that nobody here allowed", got)
		}
		if text := log.String(); !strings.Contains(text, "AllowRedirect") || !strings.Contains(text, "link/topology/orders") {
			t.Errorf("log:\n%s", text)
		}
		registry.policy <- kv("version: link/v1\nservices: { billing: {} }\n")
		sleep(time.Second)
		if !strings.Contains(log.String(), "about orders only") {
			t.Errorf("a document about another service was taken:\n%s", log)
		}
		registry.policy <- discovery.PolicyDocument{}
		sleep(time.Second)
		warm(t, client)
		if got := tally(t, client, 60); len(got) != 2 {
			t.Errorf("answers %v after the document was removed", got)
		}
	})
}

// TestATopologyThatCannotBeReadIsSaid starts with a document kept from an earlier run.
func TestATopologyThatCannotBeReadIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "a")
		ordersAt(mesh, "b")
		registry := &shared{Registry: mesh.Registry(), policy: make(chan discovery.PolicyDocument, 1)}
		log := &logBuffer{}
		client := mesh.Node(link.Config{Registry: registry, Logger: log.logger()})
		old := kv("version: link/v1\nservices: { orders: { subsets: { a: { tags: [a] } }, routes: [{ to: a }] } }\n")
		old.Stale, old.Reason = true, "no answer"
		registry.policy <- old
		start := time.Now()
		if got := tally(t, client, 20); got["a"] != 20 || time.Since(start) > time.Second {
			t.Errorf("answers %v after %v, want all by a", got, time.Since(start))
		}
		registry.policy <- discovery.PolicyDocument{Stale: true, Reason: "no answer", Origin: old.Origin}
		sleep(time.Second)
		if got := tally(t, client, 20); got["a"] != 20 {
			t.Errorf("answers %v when nothing is known any more, want all by a", got)
		}
		if s := client.Status().Topology; len(s) != 1 || s[0].Stale != "no answer" || s[0].Err != nil {
			t.Errorf("status %+v", s)
		}
		if n := strings.Count(log.String(), "topology cannot be read"); n != 1 {
			t.Errorf("%d log lines:\n%s", n, log)
		}
		old.Stale, old.Reason = false, ""
		registry.policy <- old
		sleep(time.Second)
		if s := client.Status().Topology; len(s) != 1 || s[0].Stale != "" {
			t.Errorf("status %+v", s)
		}
	})
}

func TestARedirectThatIsAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "a")
		serveCopies(mesh, "orders-new", link.Config{Tags: []string{"new"}}, keep)
		registry := &shared{Registry: mesh.Registry(), policy: make(chan discovery.PolicyDocument, 1)}
		client := mesh.Node(link.Config{Registry: registry, Routing: link.Routing{AllowRedirect: []string{"orders-new"}}})
		registry.policy <- kv("version: link/v1\nservices: { orders: { routes: [{ to: service:orders-new }] } }\n")
		if got := tally(t, client, 20); got["new"] != 20 {
			t.Errorf("answers %v, want all by the other service", got)
		}
	})
}

func TestAnIllRegistryDoesNotHoldCallsForItsTopology(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "a")
		log := &logBuffer{}
		client := mesh.Node(link.Config{Registry: &shared{Registry: mesh.Registry(), policy: make(chan discovery.PolicyDocument)}, Logger: log.logger()})
		start := time.Now()
		if _, err := ask(t, client); err != nil || time.Since(start) > 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if !strings.Contains(log.String(), "has not reported which topology") {
			t.Errorf("log:\n%s", log)
		}
	})
}
