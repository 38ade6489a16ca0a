package link_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/security"
)

// TestANodeWhoseSocketFailsSaysSo checks that Run fails if the socket does, since no caller can reach the node.
func TestANodeWhoseSocketFailsSaysSo(t *testing.T) {
	t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	registry, err := static.New()
	if err != nil {
		t.Fatal(err)
	}
	var log logBuffer
	node, err := link.New(link.Config{Service: "orders", Socket: conn, Registry: registry, StateDir: "off", Logger: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- node.Run(t.Context()) }()
	<-node.Ready()
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	err = <-ended
	if !errors.Is(err, link.Unavailable) || !strings.Contains(err.Error(), "the socket of this node has failed") {
		t.Errorf("Run returned %v, want unavailable, and that its socket has failed", err)
	}
	if !strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("the log does not say so:\n%s", log.String())
	}
	if err := node.Close(); err != nil {
		t.Errorf("closing it again: %v", err)
	}
}
