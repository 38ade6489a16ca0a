package linktest

import (
	"context"
	"net/netip"
	"sync"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
)

// member is one node of a mesh.
type member struct {
	node *link.Node
	// addr is invalid if the test has set Config.Socket.
	addr netip.AddrPort
	// announced is nil if the test has set Config.Registry.
	announced *announced

	// done is closed when Run has returned err.
	done chan struct{}
	err  error

	mu     sync.Mutex // guards the field below
	cancel context.CancelFunc
}

// begin notes how to end Run. It returns false if the node was started before.
func (m *member) begin(cancel context.CancelFunc) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cancel != nil {
		return false
	}
	m.cancel = cancel
	return true
}

func (m *member) run(ctx context.Context) {
	defer close(m.done)
	m.err = m.node.Run(ctx)
}

// cancelRun ends Run's context. It returns false if the node was not started.
func (m *member) cancelRun() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cancel == nil {
		return false
	}
	m.cancel()
	return true
}

// identityName and namespace apply link's defaults to empty names.
func identityName(service string) string {
	if service == "" {
		return "client"
	}
	return service
}

func namespace(name string) string {
	if name == "" {
		return discovery.DefaultNamespace
	}
	return name
}

// announced is the mesh's registry as one node sees it. It remembers what the
// node announced, to withdraw it when the node is killed.
type announced struct {
	registry interface {
		discovery.Registry
		discovery.Finder
		discovery.Lister
		discovery.Describer
	}

	mu            sync.Mutex // guards the field below
	registrations []discovery.Registration
}

// Register implements discovery.Registry.
func (a *announced) Register(ctx context.Context, in discovery.Instance) (discovery.Registration, error) {
	r, err := a.registry.Register(ctx, in)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.registrations = append(a.registrations, r)
	return r, nil
}

// Watch implements discovery.Registry.
func (a *announced) Watch(ctx context.Context, q discovery.Query) (<-chan discovery.Snapshot, error) {
	return a.registry.Watch(ctx, q)
}

// Find implements discovery.Finder.
func (a *announced) Find(ctx context.Context, q discovery.TagQuery) (<-chan []string, error) {
	return a.registry.Find(ctx, q)
}

// Services implements discovery.Lister.
func (a *announced) Services(ctx context.Context, namespace string) ([]string, error) {
	return a.registry.Services(ctx, namespace)
}

// Describe implements discovery.Describer.
func (a *announced) Describe() string { return a.registry.Describe() }

// withdraw removes everything the node announced.
func (a *announced) withdraw() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.registrations {
		_ = r.Close() // cannot fail in memory
	}
}
