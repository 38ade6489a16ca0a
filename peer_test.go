package link_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// TestNamesAreAdvisoryWithASharedSecret checks that names are advisory with a shared secret, and proven with a
// certificate authority.
func TestNamesAreAdvisoryWithASharedSecret(t *testing.T) {
	var peer link.Peer
	if _, err := reqrep.Call(t.Context(), pair(t), echo, echoMessage{}, link.AnsweredBy(&peer)); err != nil {
		t.Fatal(err)
	}
	if !peer.Advisory || peer.Service() != "echo" {
		t.Errorf("with a shared secret, advisory: %t, %v", peer.Advisory, peer)
	}
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		callers := make(chan link.Peer, 1)
		server := mesh.Node(link.Config{Service: "echo"})
		reqrep.Handle(server, echo, func(ctx context.Context, m echoMessage) (echoMessage, error) {
			callers <- link.Caller(ctx)
			return m, nil
		})
		mesh.Start(server)
		if _, err := reqrep.Call(t.Context(), mesh.Node(link.Config{}), echo, echoMessage{}); err != nil {
			t.Fatal(err)
		}
		if caller := <-callers; caller.Advisory {
			t.Errorf("with a certificate authority, %v is advisory", caller)
		}
	})
}
