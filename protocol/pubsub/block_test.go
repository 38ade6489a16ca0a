package pubsub_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// TestBlockIsAboutItsOwnTopic publishes much to another topic: nobody waits for a
// subscription that has all it asked for, not even with its own next message.
func TestBlockIsAboutItsOwnTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, p := publisher(t, mesh, link.Config{})
		other, err := pubsub.NewPublisher(node, pubsub.NewTopic[[]byte]("orders", "other"))
		if err != nil {
			t.Fatal(err)
		}
		s := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.Block(10*time.Second))
		sleep(time.Second)
		began := time.Now()
		body := make([]byte, 1<<20)
		for i := range 50 {
			if _, err := other.Publish(t.Context(), body); err != nil {
				t.Fatal(err)
			}
			if i%20 == 19 {
				publish(t, p, i, i)
				take(t, s, 1)
			}
		}
		if d := time.Since(began); d > 0 {
			t.Errorf("publishing waited for %v", d)
		}
	})
}

// TestBlockedTimesDoNotAddUp has several subscriptions that take nothing.
func TestBlockedTimesDoNotAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, p := publisher(t, mesh, link.Config{})
		const most = 5 * time.Second
		for range 5 {
			subscribe(t, mesh.Node(link.Config{}), placed, pubsub.Block(most))
		}
		body := order{ID: string(make([]byte, 50<<10))}
		var longest time.Duration
		for range 250 {
			began := time.Now()
			if _, err := p.Publish(t.Context(), body); err != nil {
				t.Fatal(err)
			}
			longest = max(longest, time.Since(began))
		}
		if longest != most {
			t.Errorf("a publish waited for %v, want %v", longest, most)
		}
	})
}
