package quicconn_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"
	"go.uber.org/goleak"

	"github.com/linkmesh/link/internal/mtls" //nolint:depguard // tests use real identities; the package itself knows none
	"github.com/linkmesh/link/internal/securitytest"
	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/transport/carriertest"
	"github.com/linkmesh/link/internal/transport/quicconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wires is a network that delivers each packet after a millisecond.
type wires map[string]simnet.PacketReceiver

// SendPacket implements simnet.Router.
func (w wires) SendPacket(p simnet.Packet) error {
	if to := w[p.To.String()]; to != nil {
		to.RecvPacket(p)
	}
	return nil
}

// AddNode implements simnet.Router. It does nothing, because socket adds nodes.
func (wires) AddNode(net.Addr, simnet.PacketReceiver) {}

func (w wires) socket(t *testing.T, last byte) net.PacketConn {
	t.Helper()
	addr := &net.UDPAddr{IP: net.IPv4(10, 0, 0, last).To4(), Port: 7443}
	settings := simnet.LinkSettings{MTU: 1472}
	link := &simnet.SimulatedLink{UplinkSettings: settings, DownlinkSettings: settings, Latency: time.Millisecond, UploadPacket: w}
	conn := simnet.NewBlockingSimConn(addr, link)
	w[addr.String()] = link
	link.Start()
	t.Cleanup(func() {
		_ = conn.Close()
		_ = link.Close()
	})
	return conn
}

// transport returns a transport that grants what the tests of carriers need.
func transport(t *testing.T, socket net.PacketConn, streams int) *quicconn.Transport {
	t.Helper()
	tr := quicconn.New(quicconn.Config{
		Socket:       socket,
		MustValidate: func(net.Addr) bool { return false },
		Admit:        func(ctx context.Context, _ net.Addr, _ bool) (context.Context, error) { return ctx, nil },
		MayGrow:      func(context.Context, uint64) bool { return false },
		Narrow:       func() bool { return false },
		Window:       32 << 20, FirstWindow: 1 << 20, NarrowWindow: 128 << 10,
		Streams:          streams,
		HandshakeTimeout: 5 * time.Second,
		IdleTimeout:      30 * time.Second, KeepAlive: 10 * time.Second,
	})
	t.Cleanup(func() { _ = tr.Close() })
	return tr
}

func TestConnectionsOverQUICKeepThePromisesOfCarriers(t *testing.T) {
	carriertest.Test(t, func(t *testing.T, streams int) (dialer, acceptor carrier.Conn) {
		t.Helper()
		ca, network := securitytest.NewCA(t, "mesh.test"), make(wires)
		web, orders := ca.Source("web"), ca.Source("orders")
		there := network.socket(t, 2)
		here, server := transport(t, network.socket(t, 1), streams), transport(t, there, streams)
		l, err := server.Listen(mtls.Server(orders, mtls.Protocol))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		to := there.LocalAddr().(*net.UDPAddr).AddrPort() //nolint:errcheck,forcetypeassert // socket makes no others
		dialed, err := here.Dial(ctx, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()), mtls.Client(web, orders.ID(), mtls.Protocol))
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := l.Accept(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return dialed, accepted
	})
}
