package transport

import (
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"

	"github.com/linkmesh/link/internal/wire"
	"github.com/linkmesh/link/security/securitytest" //nolint:depguard // tests use real identities; the package itself knows none
)

const (
	trustDomain = "mesh.test"
	// latency is that of one packet; a round trip takes two.
	latency = time.Millisecond
)

// world is a simulated network in virtual time, with an authority that all
// honest nodes trust.
type world struct {
	t       *testing.T
	ca      *securitytest.CA
	scripts sync.WaitGroup // the scripts of raw servers

	mu    sync.Mutex // guards the fields below
	hosts map[string]simnet.PacketReceiver
	drop  func(p simnet.Packet) bool
	last  byte
}

// inWorld runs test in a bubble of virtual time. Its own t is w.t.
func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(newWorld(t))
	})
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, ca: securitytest.NewCA(t, trustDomain), hosts: make(map[string]simnet.PacketReceiver)}
	t.Cleanup(w.scripts.Wait) // after all sockets are closed
	return w
}

// pass lets virtual time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// idle lets virtual time pass for one goroutine.
func idle(d time.Duration) { <-time.After(d) }

// settle lets everything happen that needs a few round trips.
func settle() { pass(100 * latency) }

// SendPacket implements simnet.Router.
func (w *world) SendPacket(p simnet.Packet) error {
	w.mu.Lock()
	to, lost := w.hosts[p.To.String()], w.drop != nil && w.drop(p)
	w.mu.Unlock()
	if to != nil && !lost {
		to.RecvPacket(p)
	}
	return nil
}

// AddNode implements simnet.Router; socket adds nodes.
func (w *world) AddNode(net.Addr, simnet.PacketReceiver) {}

// lose drops the packets that f says, from now on; nil drops none.
func (w *world) lose(f func(p simnet.Packet) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop = f
}

type packet = simnet.Packet

// from matches the packets of a host.
func from(addr string) func(p simnet.Packet) bool {
	return func(p simnet.Packet) bool { return p.From.String() == addr }
}

// socket returns the socket of a new host.
func (w *world) socket() net.PacketConn {
	w.mu.Lock()
	w.last++
	addr := &net.UDPAddr{IP: net.IPv4(10, 0, 0, w.last).To4(), Port: 7443}
	w.mu.Unlock()
	return w.socketAt(addr)
}

func (w *world) socketAt(addr *net.UDPAddr) net.PacketConn {
	link := &simnet.SimulatedLink{
		UplinkSettings:   simnet.LinkSettings{MTU: 1472},
		DownlinkSettings: simnet.LinkSettings{MTU: 1472},
		Latency:          latency,
		UploadPacket:     w,
	}
	conn := simnet.NewBlockingSimConn(addr, link)
	link.Start()
	w.mu.Lock()
	w.hosts[addr.String()] = link
	w.mu.Unlock()
	w.t.Cleanup(func() {
		w.mu.Lock()
		delete(w.hosts, addr.String())
		w.mu.Unlock()
		_ = conn.Close() // closed by its owner before, as a rule
		_ = link.Close() // always nil
	})
	return conn
}

// setupOf is what a node announces in these tests.
func setupOf(limits Limits) wire.Setup {
	return wire.Setup{Version: 1, Instance: "i-1", MaxMessage: uint64(limits.withDefaults().MaxMessage)}
}
