package router

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/internal/lifecycle"
	"github.com/linkmesh/link/internal/mtls"
	"github.com/linkmesh/link/internal/securitytest"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/internal/wire"
	"github.com/linkmesh/link/security"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mesh issues the identities of the nodes of one test.
type mesh struct {
	t  testing.TB
	ca *securitytest.CA
}

func newMesh(tb testing.TB) *mesh {
	tb.Helper()
	return &mesh{tb, securitytest.NewCA(tb, "mesh.test")}
}

// nobody serves no route.
type nobody struct{}

func (nobody) Find(*transport.Session, *wire.HeadersView) transport.Route  { return transport.Route{} }
func (nobody) Authorize(*transport.Session, *transport.Route) *wire.Status { return nil }
func (nobody) ServeCall(*transport.Call)                                   {}
func (nobody) ServeStream(*transport.Stream)                               {}

func identify(state tls.ConnectionState, _ *x509.Certificate) (transport.Identity, error) {
	p, err := mtls.PeerFromState(state)
	if err != nil {
		return transport.Identity{}, err
	}
	return transport.Identity{Key: p.ID.String(), Peer: p.ID.String()}, nil
}

// endpoint returns an endpoint on loopback with the identity of a service. It does not listen.
func (m *mesh) endpoint(source security.Source) *transport.Endpoint {
	m.t.Helper()
	var lc net.ListenConfig
	conn, err := lc.ListenPacket(m.t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		m.t.Fatal(err)
	}
	e, err := transport.New(transport.Config{
		Conn:      conn,
		ServerTLS: func(protocol string) *tls.Config { return mtls.Server(source, protocol) },
		Identify:  identify,
		Setup: func() (wire.Setup, []wire.RouteInfo) {
			return wire.Setup{Version: 1, MaxMessage: 4 << 20, Codecs: []uint64{uint64(codec.IDCBOR)}}, nil
		},
		Handler: nobody{},
		Limits:  transport.Limits{DialTimeout: time.Minute},
		Logger:  slog.New(slog.DiscardHandler),
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if err := e.Close(); err != nil {
			m.t.Error(err)
		}
	})
	return e
}

// server returns a listening endpoint with the identity of a service.
func (m *mesh) server(service string) *transport.Endpoint {
	m.t.Helper()
	e := m.endpoint(m.ca.Source(service))
	if err := e.Listen(); err != nil {
		m.t.Fatal(err)
	}
	return e
}

// client returns the router of a client whose registry has one instance of orders per address, named orders-0, orders-1
// and so on.
func (m *mesh) client(addrs ...string) *Router {
	m.t.Helper()
	var all []discovery.Instance
	for i, addr := range addrs {
		all = append(all, discovery.Instance{ID: fmt.Sprint("orders-", i), Service: "orders", Addr: addr})
	}
	return m.router(all...)
}

// router returns the router of a client whose registry has these instances.
func (m *mesh) router(all ...discovery.Instance) *Router {
	m.t.Helper()
	registry, err := static.New(all...)
	if err != nil {
		m.t.Fatal(err)
	}
	source := m.ca.Source("client")
	e := m.endpoint(source)
	return newRouter(m.t, Config{
		Registry: registry, Node: Self{ID: source.ID(), Tier: source.Tier(), Name: "client", Instance: "client-1", Tags: []string{"zone=z0"}, Codec: codec.CBOR()},
		Endpoint:   func() (*transport.Endpoint, error) { return e, nil },
		OnLoopback: func() bool { return true },
		TLS:        func(service security.ID) *tls.Config { return mtls.Client(source, service, mtls.Protocol) },
	})
}

// newRouter returns a router, with an empty registry, no logger and a group of its own unless cfg has others. Its group
// ends with the test.
func newRouter(tb testing.TB, cfg Config) *Router {
	tb.Helper()
	if cfg.Registry == nil {
		registry, err := static.New()
		if err != nil {
			tb.Fatal(err)
		}
		cfg.Registry = registry
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Namespace, cfg.CallTimeout, cfg.Silence = discovery.DefaultNamespace, time.Minute, time.Second
	cfg.Group = lifecycle.New(context.Background())
	r, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		cfg.Group.Stop(errClosed)
		cfg.Group.Wait()
	})
	return r
}

// orders returns the service orders once its instances are known.
func orders(t *testing.T, r *Router) *Service {
	t.Helper()
	s, err := r.Service("orders")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.wait(t.Context(), time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return s
}

// toNobody returns a service and its only instance, whose address never answers.
func toNobody(t *testing.T) (*Service, *endpoint) {
	t.Helper()
	s := orders(t, newMesh(t).client(silentAt(t, "127.0.0.1:0")))
	e, ok := s.set.Lookup("orders-0")
	if !ok {
		t.Fatal("the instance is not known")
	}
	return s, e
}

// silentAt opens a socket that never answers and returns its address.
func silentAt(t *testing.T, addr string) string {
	t.Helper()
	at, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	silent, err := net.ListenUDP("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	return silent.LocalAddr().String()
}
