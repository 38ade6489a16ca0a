// Package linktest is a mesh in memory, for tests: real nodes, real TLS and real
// QUIC on a simulated network.
//
// # Overview
//
// A [Mesh] gives each node that [Mesh.Node] makes a socket with an address such
// as 10.0.0.1:7443, an identity of the mesh's own certificate authority (tier
// production, so that no check is disabled), and a registry in memory. The test
// controls the delay, the loss and the partitions of the network between nodes.
//
// # Usage
//
//	func TestGetOrder(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			mesh := linktest.NewMesh(t) // stops everything at the end
//			srv := mesh.Node(link.Config{Service: "orders"})
//			reqrep.Handle(srv, shop.GetOrder, get)
//			mesh.Start(srv)
//
//			_, err := reqrep.Call(t.Context(), mesh.Node(link.Config{Service: "gateway"}), shop.GetOrder, shop.OrderQuery{})
//			if !errors.Is(err, link.InvalidArgument) {
//				t.Errorf("call without an ID: got %v, want invalid argument", err)
//			}
//		})
//	}
//
// # Guarantees
//
// In a testing/synctest bubble time is virtual: a minute of waiting costs
// nothing, and a deadline passes exactly when it should. Outside a bubble the
// mesh works in real time. At the end of the test everything is closed, and
// goroutines that are still running fail the test: in a bubble synctest detects
// them, elsewhere goleak does.
//
// Which packets [Loss] drops depends on [Seed] and on the packets that were sent
// in the same direction before.
//
// # Concurrency
//
// All methods are safe for concurrent use, except that Node and Start, which can
// fail the test at once, must be called on the test's own goroutine.
//
// # Errors
//
// No errors are returned: a failure fails the test.
package linktest

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/internal/securitytest"
)

// trustDomain is the trust domain of every mesh. The authorities of meshes have
// different keys.
const trustDomain = "mesh.test"

// Mesh is a set of nodes on one simulated network.
type Mesh struct {
	tb       testing.TB
	network  *network
	ca       *securitytest.CA
	registry *static.Registry
	// before selects the goroutines that ran before the mesh; nil in a bubble.
	before goleak.Option

	mu sync.Mutex // guards the field below
	// members are in the order in which they were made.
	members []*member
}

// NewMesh returns a mesh without nodes. Everything in it is ended by tb's Cleanup,
// so handlers must return when their context ends.
//
// Outside a bubble, other tests must not run in parallel, because their goroutines
// would be taken for leaks.
func NewMesh(tb testing.TB, opts ...Option) *Mesh {
	tb.Helper()
	s := settings{seed: 1}
	for _, opt := range opts {
		opt.apply(&s)
	}
	if err := s.conditions.validate(); err != nil {
		tb.Fatalf("linktest: %v", err)
	}
	registry, err := static.New()
	if err != nil {
		tb.Fatalf("linktest: making a registry: %v", err)
	}
	m := &Mesh{
		tb:       tb,
		network:  newNetwork(s.seed, s.conditions),
		ca:       securitytest.NewCA(tb, trustDomain),
		registry: registry,
	}
	if !inBubble() {
		m.before = goleak.IgnoreCurrent()
	}
	tb.Cleanup(m.stop)
	return m
}

// CA returns the authority that issues the identities of the mesh. With it a test
// can make its own identities for Config.Identity, including invalid ones.
func (m *Mesh) CA() *securitytest.CA { return m.ca }

// Registry returns the registry of the mesh. A test may register instances that no
// node announces, such as an address where no node listens.
func (m *Mesh) Registry() *static.Registry { return m.registry }

// Node returns a new node of the mesh. It fills in these fields of cfg if they are
// empty: Socket, Registry, Identity, StateDir ("off"), LookupEnv (no variable is
// set, so that a test does not depend on the shell that it runs in) and Logger,
// which writes to the log of the test. A node that is not started is a client.
func (m *Mesh) Node(cfg link.Config) *link.Node {
	m.tb.Helper()
	return m.node(cfg, m.network.listen)
}

// NodeAt is like [Mesh.Node] for a process that is restarted: the new node is another
// instance with the address of before, which must have ended by [Mesh.Stop] or
// [Mesh.Crash].
func (m *Mesh) NodeAt(before *link.Node, cfg link.Config) *link.Node {
	m.tb.Helper()
	addr := m.addr(m.member(before))
	return m.node(cfg, func() (net.PacketConn, netip.AddrPort) { return m.network.listenAt(addr) })
}

func (m *Mesh) node(cfg link.Config, listen func() (net.PacketConn, netip.AddrPort)) *link.Node {
	m.tb.Helper()
	member := &member{done: make(chan struct{})}
	if cfg.Identity == nil {
		cfg.Identity = m.ca.Source(identityName(cfg.Service), securitytest.InNamespace(namespace(cfg.Namespace)))
	}
	if cfg.Registry == nil {
		member.announced = &announced{registry: m.registry}
		cfg.Registry = member.announced
	}
	if cfg.Socket == nil {
		cfg.Socket, member.addr = listen()
	}
	if cfg.StateDir == "" {
		// A mesh in memory leaves nothing on disk.
		cfg.StateDir = "off"
	}
	if cfg.LookupEnv == nil {
		cfg.LookupEnv = func(string) (string, bool) { return "", false }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(m.tb.Output(), nil)).With("node", cfg.Socket.LocalAddr().String())
	}
	node, err := link.New(cfg)
	if err != nil {
		_ = cfg.Socket.Close()
		m.tb.Fatalf("linktest: making a node: %v", err)
	}
	member.node = node
	m.mu.Lock()
	defer m.mu.Unlock()
	m.members = append(m.members, member)
	return node
}

// Start runs n until [Mesh.Stop] or the end of the test, and returns when n
// serves. The test fails if n does not come up.
func (m *Mesh) Start(n *link.Node) {
	m.tb.Helper()
	member := m.member(n)
	ctx, cancel := context.WithCancel(context.Background())
	if !member.begin(cancel) {
		cancel()
		m.tb.Fatalf("linktest: Start: the node is started already")
	}
	go member.run(ctx)
	select {
	case <-n.Ready():
	case <-member.done:
		m.tb.Fatalf("linktest: Start: %v", member.err)
	}
}

// Stop removes n from the mesh like a process that is told to end: the node
// withdraws, drains and closes, and Stop returns when that is done. A client is
// just closed. The test fails if the node must cancel handlers that outlast
// Config.Limits.DrainTimeout; a test of that must call Shutdown itself.
func (m *Mesh) Stop(n *link.Node) {
	m.tb.Helper()
	member := m.member(n)
	if !member.cancelRun() {
		if err := n.Close(); err != nil {
			m.tb.Errorf("linktest: Stop: %v", err)
		}
		return
	}
	<-member.done
	if member.err != nil {
		m.tb.Errorf("linktest: Stop: %v", member.err)
	}
}

// Kill removes n from the mesh like a power failure: from now on no packet leaves
// or reaches it, so its peers are not told, and its entry vanishes from the
// registry of the mesh (not from one in Config.Registry). Its handlers run on
// unseen and end with the test.
func (m *Mesh) Kill(n *link.Node) {
	m.tb.Helper()
	member := m.member(n)
	m.network.kill(m.addr(member))
	if member.announced != nil {
		member.announced.withdraw()
	}
}

// Crash ends n like kill -9: from now on no packet leaves it, and its host, which stays
// up, refuses packets that arrive. Its entry stays in the registry, because it was not
// withdrawn. Its handlers run on unseen and end with the test.
func (m *Mesh) Crash(n *link.Node) {
	m.tb.Helper()
	m.network.empty(m.addr(m.member(n)), true)
}

// member returns the member of n. It fails the test if n is not of this mesh.
func (m *Mesh) member(n *link.Node) *member {
	m.tb.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.members, func(member *member) bool { return member.node == n })
	if i < 0 {
		m.tb.Fatalf("linktest: the node is not of this mesh")
	}
	return m.members[i]
}

// stop ends everything, starting with the nodes that were made last.
func (m *Mesh) stop() {
	m.mu.Lock()
	members := slices.Clone(m.members)
	m.mu.Unlock()
	for _, member := range slices.Backward(members) {
		if err := member.node.Close(); err != nil {
			m.tb.Errorf("linktest: closing a node: %v", err)
		}
		if member.cancelRun() {
			<-member.done
		}
	}
	m.network.close()
	if err := m.registry.Close(); err != nil {
		m.tb.Errorf("linktest: closing the registry: %v", err)
	}
	if m.before != nil {
		if err := goleak.Find(m.before); err != nil {
			m.tb.Errorf("linktest: %v", err)
		}
	}
}
