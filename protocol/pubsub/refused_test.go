package pubsub_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// TestSubscribeSaysWhyItWasRefused checks that the error of Subscribe is that of the only publisher, which refuses, and not
// that of the subscription, which ends because of it.
func TestSubscribeSaysWhyItWasRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, _ := publisher(t, mesh, link.Config{})
		pubsub.Authorize(node, func(pubsub.Access) error { return errors.New("not you") })
		_, err := pubsub.Subscribe(t.Context(), mesh.Node(link.Config{}), placed)
		if link.CodeOf(err) != link.PermissionDenied {
			t.Errorf("got %v, want permission denied", err)
		}
	})
}
