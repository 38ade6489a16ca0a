package link_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// TestOrderNothing is the test that README.md shows, of the service in
// example_test.go.
func TestOrderNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time is virtual
		mesh := linktest.NewMesh(t) // real nodes and real TLS on a simulated network
		server := mesh.Node(link.Config{Service: "orders"})
		if err := offer(server); err != nil {
			t.Fatal(err)
		}
		mesh.Start(server)

		client := mesh.Node(link.Config{})
		_, err := reqrep.Call(t.Context(), client, Place, "")
		if !errors.Is(err, link.InvalidArgument) {
			t.Errorf("ordering nothing: got %v, want invalid argument", err)
		}
	})
}
