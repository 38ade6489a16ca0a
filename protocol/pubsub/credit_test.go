package pubsub_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// TestMessagesLongerThanTheCreditArrive, short ones around them in order.
func TestMessagesLongerThanTheCreditArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, p := publisher(t, mesh, link.Config{})
		remote := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.In(pubsub.Reliable))
		local := subscribe(t, node, placed, pubsub.In(pubsub.Reliable))
		sizes := []int{1, 100 << 10, 2, 3 << 20, 1 << 20, 3}
		for i, n := range sizes {
			if _, err := p.Publish(t.Context(), order{ID: string(make([]byte, n)), Cents: int64(i)}); err != nil {
				t.Fatal(err)
			}
		}
		for name, s := range map[string]*pubsub.Subscription[order]{"over the network": remote, "on the node": local} {
			for i, m := range take(t, s, len(sizes)) {
				if m.Gap != nil || m.Value.Cents != int64(i) || len(m.Value.ID) != sizes[i] {
					t.Errorf("%s: message %d is number %d with %d bytes, gap %+v", name, i, m.Value.Cents, len(m.Value.ID), m.Gap)
				}
			}
		}
	})
}

// TestANodeHasManySubscriptionsAtOnePublisher has more than its connection could give a
// MiB of credit each.
func TestANodeHasManySubscriptionsAtOnePublisher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, p := publisher(t, mesh, link.Config{})
		client := mesh.Node(link.Config{})
		const n = 300
		var all []*pubsub.Subscription[order]
		for i := range n {
			all = append(all, subscribe(t, client, pubsub.NewTopic[order]("orders", fmt.Sprintf("placed.%d", i)), pubsub.In(pubsub.Reliable)))
		}
		body := string(make([]byte, 200<<10))
		for i := range n {
			if _, err := p.Publish(t.Context(), order{ID: body, Cents: int64(i)}, pubsub.Under(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		for i, s := range all {
			if m := take(t, s, 1)[0]; m.Gap != nil || m.Value.Cents != int64(i) {
				t.Errorf("subscription %d got %+v", i, m)
			}
			s.Close()
		}
		sleep(time.Second)
		// Their credit is free again.
		publish(t, p, 1, 1)
		subscribe(t, client, placed, pubsub.FromLast(1))
	})
}

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
