package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/integration/internal/agent"
)

// serviceStatus is what a node says of service.
func serviceStatus(t *testing.T, node *link.Node) link.ServiceStatus {
	t.Helper()
	for _, s := range node.Status().Services {
		if s.Service == service {
			return s
		}
	}
	t.Fatalf("the node does not know %s", service)
	return link.ServiceStatus{}
}

// TestTheStatusSaysThatConsulIsGone kills the agent and starts it again.
func TestTheStatusSaysThatConsulIsGone(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{Durable: true})
	m := newMesh(t)
	s := m.serve(m.registry(a.Address()), link.Config{})
	client := m.client(m.registry(a.Address()))
	untilAnswered(t, client, s)
	before := serviceStatus(t, client)
	if before.Stale || before.Reason != "" || before.At.IsZero() || before.Serving != 1 || before.Connected != 1 {
		t.Errorf("with Consul: %+v", before)
	}

	a.Kill()
	eventually(t, "a status that is stale", within, func() error {
		if s := serviceStatus(t, client); !s.Stale {
			return fmt.Errorf("it is %+v", s)
		}
		return nil
	})
	gone := serviceStatus(t, client)
	if gone.Reason == "" || gone.Serving != 1 || gone.Connected != 1 {
		t.Errorf("without Consul: %+v", gone)
	}
	if d := before.At.Sub(gone.At); d > time.Second { // both are the last good read
		t.Errorf("the last word is %v older than it was before the outage", d)
	}
	if id, err := ask(t.Context(), client); err != nil || id != s.Instance() {
		t.Errorf("answered by %q: %v", id, err)
	}

	a.Restart()
	eventually(t, "a status that is not stale", within, func() error {
		if s := serviceStatus(t, client); s.Stale || s.Reason != "" || s.Serving != 1 {
			return fmt.Errorf("it is %+v", s)
		}
		return nil
	})
	if s := serviceStatus(t, client); !s.At.After(gone.At) {
		t.Errorf("the last word is still that of %v", s.At)
	}
}
