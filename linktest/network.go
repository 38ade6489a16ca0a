package linktest

import (
	"context"
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"
)

const (
	// port is the port of every node. Each node has an IP address of its own.
	port = 7443
	// mtu is the largest UDP payload in an Ethernet frame over IPv4.
	mtu = 1500 - 20 - 8
)

// network carries packets between hosts. Only this file depends on the simulator.
type network struct {
	seed uint64

	mu    sync.Mutex // guards the fields below
	base  conditions
	hosts map[netip.AddrPort]*host
	// before are hosts whose address another host has taken over.
	before []*host
	paths  map[pair]*path
	// count is the number of addresses that were assigned.
	count uint32
}

type host struct {
	wire  *simnet.SimulatedLink
	dead  bool // no packet leaves or reaches it
	empty bool // no process listens there, which it answers to a knock
	mute  bool // its process was killed, so that no packet leaves it
}

// socket is the socket of a node.
type socket struct {
	*simnet.SimConn

	network *network
	addr    netip.AddrPort
	host    *host
}

// Close closes the socket. Its host stays up.
func (s *socket) Close() error {
	s.network.update(func(*network) { s.host.empty = true })
	return s.SimConn.Close()
}

// Knock reports whether the host of addr answers that no process listens there, as kernels
// do with ICMP. That takes a round trip. If there is no answer, Knock waits until ctx ends.
func (s *socket) Knock(ctx context.Context, addr netip.AddrPort) (refused bool) {
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	trip, refuses := s.network.knock(s.addr, addr)
	if !refuses {
		<-ctx.Done()
		return false
	}
	t := time.NewTimer(trip)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// pair is a direction between two hosts.
type pair struct{ from, to netip.AddrPort }

// path has the conditions of one direction. A nil delay or loss means that of the network.
type path struct {
	delay *time.Duration
	loss  *float64
	cut   bool
	dice  *rand.Rand
}

func newNetwork(seed uint64, base conditions) *network {
	return &network{
		seed: seed, base: base,
		hosts: make(map[netip.AddrPort]*host),
		paths: make(map[pair]*path),
	}
}

// update changes the network between two packets.
func (n *network) update(change func(n *network)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(n)
}

// listen returns the socket of a new host. Packets that were sent before it is
// closed still arrive.
func (n *network) listen() (net.PacketConn, netip.AddrPort) {
	n.mu.Lock()
	n.count++
	number := n.count
	n.mu.Unlock()
	var ip [4]byte
	binary.BigEndian.PutUint32(ip[:], 10<<24|number)
	return n.listenAt(netip.AddrPortFrom(netip.AddrFrom4(ip), port))
}

// listenAt returns the socket of a new host with an address. A host that had the address
// before loses it.
func (n *network) listenAt(addr netip.AddrPort) (net.PacketConn, netip.AddrPort) {
	h := new(host)
	wire := &simnet.SimulatedLink{
		UplinkSettings:   simnet.LinkSettings{MTU: mtu},
		DownlinkSettings: simnet.LinkSettings{MTU: mtu},
		LatencyFunc:      n.latency,
		UploadPacket:     &router{n, h},
	}
	h.wire = wire
	conn := simnet.NewBlockingSimConn(net.UDPAddrFromAddrPort(addr), wire)
	wire.Start()
	n.update(func(n *network) {
		if before := n.hosts[addr]; before != nil {
			n.before = append(n.before, before)
		}
		n.hosts[addr] = h
	})
	return &socket{conn, n, addr, h}, addr
}

// close ends the goroutines of all hosts and waits for them. The sockets must be
// closed.
func (n *network) close() {
	n.mu.Lock()
	hosts := append(slices.Collect(maps.Values(n.hosts)), n.before...)
	clear(n.hosts)
	n.mu.Unlock()
	for _, h := range hosts {
		_ = h.wire.Close() // always nil
	}
}

// kill drops all packets from and to a host from now on.
func (n *network) kill(addr netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h := n.hosts[addr]; h != nil {
		h.dead = true
	}
}

// empty removes the process from a host, which then refuses packets. If the process was
// killed, packets that it has just sent are lost too.
func (n *network) empty(addr netip.AddrPort, killed bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h := n.hosts[addr]; h != nil {
		h.empty, h.mute = true, h.mute || killed
	}
}

// knock reports whether a host answers that no process listens there, and after what time.
func (n *network) knock(from, to netip.AddrPort) (trip time.Duration, refuses bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	src, dst := n.hosts[from], n.hosts[to]
	if src == nil || dst == nil || src.dead || src.mute || dst.dead || !dst.empty {
		return 0, false
	}
	for _, direction := range []pair{{from, to}, {to, from}} {
		delay := n.base.delay
		if p := n.paths[direction]; p != nil {
			if p.cut {
				return 0, false
			}
			if p.delay != nil {
				delay = *p.delay
			}
		}
		trip += delay
	}
	return trip, true
}

// pathLocked returns the path of a direction. It makes the path if there is none.
func (n *network) pathLocked(from, to netip.AddrPort) *path {
	key := pair{from, to}
	p := n.paths[key]
	if p == nil {
		src, dst := from.Addr().As4(), to.Addr().As4()
		direction := uint64(binary.BigEndian.Uint32(src[:]))<<32 | uint64(binary.BigEndian.Uint32(dst[:]))
		p = &path{dice: rand.New(rand.NewPCG(n.seed, direction))} //nolint:gosec // repeatable on purpose
		n.paths[key] = p
	}
	return p
}

// latency returns how long a packet is in flight.
func (n *network) latency(p simnet.Packet) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if path := n.paths[pair{addrOf(p.From), addrOf(p.To)}]; path != nil && path.delay != nil {
		return *path.delay
	}
	return n.base.delay
}

// arrives returns the link that receives a packet of a host, or nil if the packet is lost.
func (n *network) arrives(sender *host, from, to netip.AddrPort) *simnet.SimulatedLink {
	n.mu.Lock()
	defer n.mu.Unlock()
	src, dst := n.hosts[from], n.hosts[to]
	if src != sender || src == nil || dst == nil || src.dead || src.mute || dst.dead || dst.empty {
		return nil
	}
	p := n.pathLocked(from, to)
	loss := n.base.loss
	if p.loss != nil {
		loss = *p.loss
	}
	if p.cut || loss > 0 && p.dice.Float64() < loss {
		return nil
	}
	return dst.wire
}

// router is the network as the simulator sees it, for one host.
type router struct {
	network *network
	host    *host
}

// SendPacket implements simnet.Router.
func (r *router) SendPacket(p simnet.Packet) error {
	if to := r.network.arrives(r.host, addrOf(p.From), addrOf(p.To)); to != nil {
		to.RecvPacket(p)
	}
	return nil
}

// AddNode implements simnet.Router. It does nothing, because listen adds hosts.
func (r *router) AddNode(net.Addr, simnet.PacketReceiver) {}

func addrOf(addr net.Addr) netip.AddrPort {
	udp, ok := addr.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := udp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
