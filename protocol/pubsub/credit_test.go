package pubsub_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// TestAllOfTheCreditComesBack follows many frames with a message that takes nearly all
// the credit of a subscription.
func TestAllOfTheCreditComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		node := mesh.Node(link.Config{Service: "feed"})
		p, err := pubsub.NewPublisher(node, ticks)
		if err != nil {
			t.Fatal(err)
		}
		mesh.Start(node)
		s, err := pubsub.Subscribe(t.Context(), mesh.Node(link.Config{}), ticks, pubsub.Block(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		const short, long, rounds = 64, 1<<20 - 1<<10, 3
		go func() {
			for range rounds {
				for range 20_000 {
					if _, err := p.Publish(t.Context(), tick(short)); err != nil {
						t.Error(err)
					}
				}
				if _, err := p.Publish(t.Context(), tick(long)); err != nil {
					t.Error(err)
				}
			}
		}()
		left := rounds
		for m := range s.Messages() {
			if m.Gap != nil || m.Err != nil {
				t.Fatalf("%+v, %v", m.Gap, m.Err)
			}
			if len(m.Value.Payload) == long {
				if left--; left == 0 {
					break
				}
			}
		}
		if left > 0 {
			t.Errorf("the subscription ended with %d long messages missing: %v", left, s.Err())
		}
	})
}

func tick(size int) small { return small{make([]byte, size)} }
