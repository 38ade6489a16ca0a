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
	"github.com/linkmesh/link/protocol/pipeline"
	"github.com/linkmesh/link/security"
)

// TestANodeIsTheSameProducerToItselfByAnyName checks that a node's worker takes the node for the same
// producer with and without the network if the node announces a host name instead of an address, and
// in the dev tier, where names are not proven either.
func TestANodeIsTheSameProducerToItselfByAnyName(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	for name, c := range map[string]struct {
		source func() (security.Source, error)
		host   string
	}{
		"cluster secret, a name": {func() (security.Source, error) { return security.NewClusterSource(security.NewSecret(), "mailer", "") }, "localhost"},
		"dev, a name":            {func() (security.Source, error) { return security.NewDevSource("mailer", "") }, "localhost"},
		"dev, an address":        {func() (security.Source, error) { return security.NewDevSource("mailer", "") }, "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			source, err := c.source()
			if err != nil {
				t.Fatal(err)
			}
			socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			_, port, err := net.SplitHostPort(socket.LocalAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			registry, err := static.New()
			if err != nil {
				t.Fatal(err)
			}
			node, err := link.New(link.Config{
				Service: "mailer", Identity: source, Registry: registry, Socket: socket,
				Advertise: fmt.Sprintf("%s:%s", c.host, port), Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			seen := make(chan link.Peer, 100)
			pipeline.Authorize(node, func(a pipeline.Access) error {
				seen <- a.Peer
				return nil
			})
			pipeline.Pull(node, receipts, pipeline.NoResult(func(context.Context, order) error { return nil }))
			key := func(peer link.Peer) share.Key { return share.KeyOf(peer.Identity.String(), peer.Addr, peer.Advisory) }
			alone := pipeline.OwnPeer(node)
			ctx, stop := context.WithCancel(t.Context())
			ran := make(chan error, 1)
			go func() { ran <- node.Run(ctx) }()
			<-node.Ready()
			if _, err := pipeline.Push(t.Context(), node, receipts, order{}); err != nil {
				t.Fatal(err)
			}
			far, near := <-seen, pipeline.OwnPeer(node)
			if key(far) != key(near) || key(far).Place == "" || alone.Advisory != far.Advisory {
				t.Errorf("by the network it is %v, without %v, before that %v", key(far), key(near), key(alone))
			}
			stop()
			if err := errors.Join(<-ran, registry.Close(), source.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}
