package pubsub_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

func TestABookmarkGoesOnInAnotherRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, a := publisher(t, mesh, link.Config{})
		first, err := pubsub.Subscribe(t.Context(), mesh.Node(link.Config{}), placed, pubsub.Reliable)
		if err != nil {
			t.Fatal(err)
		}
		publish(t, a, 1, 10)
		take(t, first, 7)
		first.Close()
		// Closing the subscription does not change its bookmark.
		mark := first.Bookmark()
		publish(t, a, 11, 12)
		// This publisher starts between the two subscriptions.
		_, b := publisher(t, mesh, link.Config{})
		publish(t, b, 100, 101)

		s := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.Reliable, pubsub.Resume(mark))
		got := make(map[string]int)
		for _, m := range take(t, s, 7) {
			got[m.Value.ID]++
		}
		for _, id := range []int{8, 9, 10, 11, 12, 100, 101} {
			if got[fmt.Sprint(id)] != 1 {
				t.Errorf("message %d came %d times: %v", id, got[fmt.Sprint(id)], got)
			}
		}
		again := pubsub.Resume(s.Bookmark())
		publish(t, a, 13, 13)
		if m := take(t, subscribe(t, mesh.Node(link.Config{}), placed, again), 1)[0]; m.Value.ID != "13" {
			t.Errorf("got %+v", m)
		}
	})
}

func TestStartByNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, p := publisher(t, mesh, link.Config{})
		publish(t, p, 1, 10)
		s := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.FromSeq(8))
		publish(t, p, 11, 11)
		for i, m := range take(t, s, 4) {
			if m.Seq != uint64(8+i) || m.Replayed != (i < 3) {
				t.Errorf("message %d is %+v", i, m)
			}
		}
	})
}
