package link_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// TestGreetNobody is the test that README.md shows, of the service in
// example_test.go.
func TestGreetNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time is virtual
		mesh := linktest.NewMesh(t) // real nodes and real TLS on a simulated network
		server := mesh.Node(link.Config{Service: "greeter"})
		reqrep.Handle(server, Greet, greet)
		mesh.Start(server)

		client := mesh.Node(link.Config{Service: "gateway"})
		_, err := reqrep.Call(t.Context(), client, Greet, "")
		if !errors.Is(err, link.InvalidArgument) {
			t.Errorf("greeting nobody: got %v, want invalid argument", err)
		}
	})
}
