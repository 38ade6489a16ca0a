package pubsub_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// TestADrainDeliversWhatHandlersPublishMeanwhile drains a node whose handlers are still
// at work, and publish before they answer.
func TestADrainDeliversWhatHandlersPublishMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		node := mesh.Node(link.Config{Service: "orders"})
		p, err := pubsub.NewPublisher(node, placed)
		if err != nil {
			t.Fatal(err)
		}
		node.HandleCall(ping, link.CallHandler{
			New: func() any { return new(int) },
			Serve: func(ctx context.Context, n any) (any, error) {
				sleep(2 * time.Second)
				_, err := p.Publish(ctx, order{ID: "late"})
				return n, err
			},
		})
		mesh.Start(node)
		client := mesh.Node(link.Config{})
		s := subscribe(t, client, placed)
		answered := make(chan error, 1)
		go func() {
			in, out := 1, 0
			answered <- client.Call(t.Context(), ping, &in, &out)
		}()
		sleep(100 * time.Millisecond)
		began := time.Now()
		mesh.Stop(node)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the drain took %v, and should end with the handler", took)
		}
		if err := <-answered; err != nil {
			t.Error(err)
		}
		if m := take(t, s, 1)[0]; m.Value.ID != "late" {
			t.Errorf("got %+v", m)
		}
	})
}
