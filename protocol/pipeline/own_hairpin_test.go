package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"testing"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/security"
)

// hairpin is the socket of a node behind a NAT that returns what the node sends to its own announced
// address, as if it came from another address. The first byte of a packet tells where it was sent.
type hairpin struct {
	net.PacketConn

	outside, seen *net.UDPAddr
}

func (h hairpin) WriteTo(b []byte, addr net.Addr) (int, error) {
	marked := append([]byte{0}, b...)
	if addr.String() == h.seen.String() {
		marked[0] = 1
	}
	if _, err := h.PacketConn.WriteTo(marked, h.LocalAddr()); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (h hairpin) ReadFrom(b []byte) (int, net.Addr, error) {
	buf := make([]byte, len(b)+1)
	n, _, err := h.PacketConn.ReadFrom(buf)
	if err != nil || n == 0 {
		return 0, h.seen, err
	}
	from := h.seen
	if buf[0] == 1 {
		from = h.outside
	}
	return copy(b, buf[1:n]), from, nil
}

// TestANodeIsTheSameProducerToItselfBehindANAT checks that a node's worker takes the node for the same
// producer with and without the network, if a NAT shows the worker an address that the queue does not
// see, and even if another peer claims to be the node.
func TestANodeIsTheSameProducerToItselfBehindANAT(t *testing.T) {
	for name, impostor := range map[string]bool{"alone": false, "beside one that claims to be it": true} {
		t.Run(name, func(t *testing.T) {
			source, err := security.NewClusterSource(security.NewSecret(), "mailer", "")
			if err != nil {
				t.Fatal(err)
			}
			socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			local, ok := socket.LocalAddr().(*net.UDPAddr)
			if !ok {
				t.Fatal(socket.LocalAddr())
			}
			outside := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2), Port: local.Port}
			registry, err := static.New()
			if err != nil {
				t.Fatal(err)
			}
			node, err := link.New(link.Config{
				Service: "mailer", Identity: source, Registry: registry,
				Socket:    hairpin{socket, outside, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 3), Port: 1 + local.Port%1000}},
				Advertise: outside.String(), Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			key := func(peer link.Peer) share.Key { return share.KeyOf(peer.Identity.String(), peer.Addr, peer.Advisory) }
			seen := make(chan link.Peer, 100)
			pipeline.Authorize(node, func(a pipeline.Access) error {
				seen <- a.Peer
				return nil
			})
			w := pipeline.Pull(node, receipts, pipeline.NoResult(func(context.Context, order) error { return nil }))
			ctx, stop := context.WithCancel(t.Context())
			ran := make(chan error, 1)
			go func() { ran <- node.Run(ctx) }()
			<-node.Ready()
			p, err := pipeline.NewProducer(node, receipts)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Push(t.Context(), order{}); err != nil {
				t.Fatal(err)
			}
			far := <-seen
			if impostor {
				claims := far
				claims.Addr = fmt.Sprintf("127.0.0.4:%d", local.Port)
				st := pipeline.ServeAs(t.Context(), w, claims)
				hello, err := frame.Encode(frame.KindHello, frame.Hello{Queue: p.Stats().ID})
				if err := errors.Join(err, st.Send(hello)); err != nil {
					t.Fatal(err)
				}
				// The worker welcomes the impostor as the node that it claims to be.
				if _, err := st.Recv(); err != nil {
					t.Fatal(err)
				}
			}
			if near := pipeline.OwnPeer(node); key(far) != key(near) || key(far).Place != "127.0.0.3/32" {
				t.Errorf("by the network it is %v, without %v", key(far), key(near))
			}
			stop()
			if err := errors.Join(<-ran, registry.Close(), source.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestWhoClaimsToBeTheNodeWhileItIsSeenIsNotTakenForIt checks which address of the node counts: the one
// that the worker sees, if all HELLOs come from one place; otherwise the one that was known before; and
// otherwise the one that the queue sees.
func TestWhoClaimsToBeTheNodeWhileItIsSeenIsNotTakenForIt(t *testing.T) {
	const dialed, node, other = "127.0.0.2:1", "127.0.0.3:1", "127.0.0.4:1"
	source, err := security.NewClusterSource(security.NewSecret(), "mailer", "")
	if err != nil {
		t.Fatal(err)
	}
	n := linktest.NewMesh(t).Node(link.Config{Service: "mailer", Identity: source})
	for i, c := range []struct {
		hellos []string
		want   string
	}{
		{[]string{node, other}, dialed},
		{[]string{node, node}, node},
		{[]string{other, node}, node},
		{nil, node},
	} {
		if got := pipeline.Sighted(n, dialed, c.hellos...); got != c.want {
			t.Errorf("step %d: after HELLOs from %v it is at %s, want %s", i, c.hellos, got, c.want)
		}
	}
}
