package pipeline_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
	"github.com/linkmesh/link/security"
)

// TestANodeIsTheSameProducerToItselfWithoutTheNetwork checks that a node's worker takes the node for
// the same producer with and without the network, even where names are not proven. The worker must know
// what it has of a queue when a drain connects the two without the network.
func TestANodeIsTheSameProducerToItselfWithoutTheNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		source, err := security.NewClusterSource(security.NewSecret(), "mailer", "")
		if err != nil {
			t.Fatal(err)
		}
		node := mesh.Node(link.Config{Service: "mailer", Identity: source, Limits: link.Limits{DrainTimeout: time.Minute}})
		var mu sync.Mutex
		keys := make(map[string][]share.Key)
		copies := pipeline.NewStage[order, pipeline.None]("mailer", "copies")
		pipeline.Authorize(node, func(a pipeline.Access) error {
			mu.Lock()
			defer mu.Unlock()
			keys[a.Stage] = append(keys[a.Stage], share.KeyOf(a.Peer.Identity.String(), a.Peer.Addr, a.Peer.Advisory))
			return nil
		})
		pipeline.Pull(node, receipts, pipeline.NoResult(func(context.Context, order) error { return nil }))
		began := make(chan struct{})
		pipeline.Pull(node, copies, pipeline.NoResult(func(ctx context.Context, o order) error {
			close(began)
			// The node drains by then, and discovery no longer lists it.
			sleep(5 * time.Second)
			_, err := pipeline.Enqueue(ctx, node, receipts, o)
			return err
		}))
		ctx, stop := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- node.Run(ctx) }()
		<-node.Ready()
		// This task goes over the network.
		f, err := pipeline.Enqueue(t.Context(), node, copies, order{})
		if err != nil {
			t.Fatal(err)
		}
		<-began
		stop()
		if err := <-ran; err != nil {
			t.Errorf("Run returned %v", err)
		}
		wait(t, []*pipeline.Future[pipeline.None]{f})
		mu.Lock()
		defer mu.Unlock()
		far, near := keys[copies.Route().Name], keys[receipts.Route().Name]
		if len(far) == 0 || len(near) == 0 || far[0] != near[len(near)-1] || far[0].Place == "" {
			t.Errorf("by the network it is %v, without %v", far, near)
		}
	})
}
