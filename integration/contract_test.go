package integration

import (
	"testing"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/consul"
	"github.com/linkmesh/link/discovery/discoverytest"
	"github.com/linkmesh/link/integration/internal/agent"
)

// TestContract holds the registry to the contract of package discovery. The wait is long because a
// service that changes again and again is asked about less and less often, by design.
func TestContract(t *testing.T) {
	t.Parallel()
	a := agent.Start(t, agent.Config{})
	open := func(t *testing.T) discovery.Registry {
		t.Helper()
		r, err := consul.New(consul.Config{Address: a.Address(), StateDir: "off"})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	discoverytest.Run(t, discoverytest.Backend{Open: open, Patience: time.Minute, OpenShared: func(t *testing.T) (a, b discovery.Registry) {
		t.Helper()
		return open(t), open(t)
	}})
}
