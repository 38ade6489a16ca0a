package transport

import (
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"

	"github.com/linkmesh/link/internal/securitytest"
	"github.com/linkmesh/link/internal/wire"
)

const (
	trustDomain = "mesh.test"
	// latency is how long one packet takes. A round trip takes twice as long.
	latency = time.Millisecond
)

// world is a simulated network in virtual time, with an authority that all
// honest nodes trust.
type world struct {
	t  *testing.T
	ca *securitytest.CA
	// inMemory means that connect makes connections in memory, and no packet is sent.
	inMemory bool
	// scripts tracks background goroutines of the test, such as the scripts of raw servers.
	scripts sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	hosts map[string]simnet.PacketReceiver
	drop  func(p simnet.Packet) bool
	last  byte
}

// inWorld runs test in a synctest bubble, with virtual time. Inside it the test must use w.t instead of t.
func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(newWorld(t))
	})
}

// inEach runs test twice, as inWorld does: with connections over QUIC, and with connections in memory. It is for tests that
// are about sessions, which connect makes, and not about packets.
func inEach(t *testing.T, test func(w *world)) {
	t.Helper()
	t.Run("over QUIC", func(t *testing.T) { inWorld(t, test) })
	t.Run("in memory", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.inMemory = true
			test(w)
		})
	})
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, ca: securitytest.NewCA(t, trustDomain), hosts: make(map[string]simnet.PacketReceiver)}
	// The first cleanup runs last, after all sockets are closed.
	t.Cleanup(w.scripts.Wait)
	return w
}

// pass waits for d of virtual time, and then until all other goroutines of the bubble are blocked.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// idle waits for d of virtual time. Several goroutines may call it at once, unlike pass.
func idle(d time.Duration) { <-time.After(d) }

// quiesce returns once all other goroutines wait. A peer in memory is heard at once, while the other side is still at what it
// does after it has sent something; over QUIC the network gives it time for that.
func quiesce() { idle(1) }

// settle passes 50 round trips, so that whatever needs a few of them has happened.
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

// AddNode implements simnet.Router. It does nothing, because socketAt adds nodes.
func (w *world) AddNode(net.Addr, simnet.PacketReceiver) {}

// lose makes the network drop the packets for which f returns true, from now on. If f is nil, it drops none.
// f runs with w.mu held.
func (w *world) lose(f func(p simnet.Packet) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop = f
}

type packet = simnet.Packet

// from matches the packets that a host sends.
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
		// The owner of conn has usually closed it already.
		_ = conn.Close()
		_ = link.Close()
	})
	return conn
}

// setupOf returns the SETUP that a node sends in these tests.
func setupOf(limits Limits) wire.Setup {
	return wire.Setup{Version: 1, Instance: "i-1", MaxMessage: uint64(limits.withDefaults().MaxMessage)}
}
