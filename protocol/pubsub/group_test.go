package pubsub_test

import (
	"testing"
	"testing/synctest"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// TestAMemberThatReadsGetsMoreThanItsFirstCredit publishes more than a member of a
// group is trusted with at first.
func TestAMemberThatReadsGetsMoreThanItsFirstCredit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, p := publisher(t, mesh, link.Config{})
		s := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.Group("billing"), pubsub.Limits(10_000, 0, 0))
		publish(t, p, 1, 5000)
		take(t, s, 5000)
	})
}
