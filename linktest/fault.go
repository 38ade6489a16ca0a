package linktest

import (
	"net/netip"
	"time"

	"github.com/linkmesh/link"
)

// SetDelay changes the delay of all packets sent from now on, except between
// nodes with a delay of their own.
func (m *Mesh) SetDelay(d time.Duration) {
	m.tb.Helper()
	m.check(conditions{delay: d})
	m.network.update(func(n *network) { n.base.delay = d })
}

// SetLoss changes the share of packets that are lost from now on, except between
// nodes with a share of their own.
func (m *Mesh) SetLoss(rate float64) {
	m.tb.Helper()
	m.check(conditions{loss: rate})
	m.network.update(func(n *network) { n.base.loss = rate })
}

// SetDelayBetween gives two nodes a delay of their own, in both directions.
func (m *Mesh) SetDelayBetween(a, b *link.Node, d time.Duration) {
	m.tb.Helper()
	m.check(conditions{delay: d})
	m.both(a, b, func(p *path) { p.delay = &d })
}

// SetLossBetween gives two nodes a loss of their own, in both directions.
func (m *Mesh) SetLossBetween(a, b *link.Node, rate float64) {
	m.tb.Helper()
	m.check(conditions{loss: rate})
	m.both(a, b, func(p *path) { p.loss = &rate })
}

// Partition separates two nodes: packets between them are dropped silently. Both
// nodes still see the registry.
func (m *Mesh) Partition(a, b *link.Node) {
	m.tb.Helper()
	m.both(a, b, func(p *path) { p.cut = true })
}

// PartitionOneWay drops the packets from one node to another. Packets in the
// other direction arrive.
func (m *Mesh) PartitionOneWay(from, to *link.Node) {
	m.tb.Helper()
	src, dst := m.addr(m.member(from)), m.addr(m.member(to))
	m.network.update(func(n *network) { n.pathLocked(src, dst).cut = true })
}

// Heal ends the effect of Partition and PartitionOneWay on two nodes.
func (m *Mesh) Heal(a, b *link.Node) {
	m.tb.Helper()
	m.both(a, b, func(p *path) { p.cut = false })
}

// both changes the paths between two nodes in both directions.
func (m *Mesh) both(a, b *link.Node, change func(p *path)) {
	m.tb.Helper()
	x, y := m.addr(m.member(a)), m.addr(m.member(b))
	m.network.update(func(n *network) {
		change(n.pathLocked(x, y))
		change(n.pathLocked(y, x))
	})
}

func (m *Mesh) check(c conditions) {
	m.tb.Helper()
	if err := c.validate(); err != nil {
		m.tb.Fatalf("linktest: %v", err)
	}
}

// addr returns the address of a node on the simulated network.
func (m *Mesh) addr(member *member) netip.AddrPort {
	m.tb.Helper()
	if !member.addr.IsValid() {
		m.tb.Fatalf("linktest: the node has a Config.Socket of its own, which is not on the simulated network")
	}
	return member.addr
}
