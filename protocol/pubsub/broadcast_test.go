package pubsub_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

type maintenance struct{ Minutes int }

func TestABroadcastReachesEverybodyConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, p := publisher(t, mesh, link.Config{})
		var all []*pubsub.Subscription[maintenance]
		for range 5 {
			s, err := pubsub.Subscribe(t.Context(), mesh.Node(link.Config{}), pubsub.BroadcastTopic[maintenance]("orders"))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			all = append(all, s)
		}
		other := subscribe(t, mesh.Node(link.Config{}), pubsub.NewTopic[order]("orders", ">"))
		report, err := pubsub.Broadcast(t.Context(), node, maintenance{15})
		if err != nil || report.Matched != 5 || report.Queued != 5 {
			t.Errorf("report %+v, %v", report, err)
		}
		for _, s := range all {
			for m := range s.Messages() {
				if m.Value.Minutes != 15 || m.Topic != "maintenance" || m.Peer().Service() != "orders" {
					t.Errorf("got %+v", m)
				}
				break
			}
		}
		publish(t, p, 1, 1)
		if m := take(t, other, 1)[0]; m.Value.ID != "1" {
			t.Errorf("a broadcast came to a topic: %+v", m)
		}
		if _, err := pubsub.Broadcast(t.Context(), node, []int{1}); !errors.Is(err, link.InvalidArgument) {
			t.Errorf("a type without a name: %v", err)
		}
	})
}
