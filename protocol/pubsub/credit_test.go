package pubsub_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// TestMessagesLongerThanTheCreditArrive checks that messages longer than the credit arrive, in
// order with the short ones around them.
func TestMessagesLongerThanTheCreditArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, p := publisher(t, mesh, link.Config{})
		remote := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.Reliable)
		local := subscribe(t, node, placed, pubsub.Reliable)
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

// TestANodeHasManySubscriptionsAtOnePublisher has a node make more subscriptions than its
// connection could give a MiB of credit each, and expects that each gets its message.
func TestANodeHasManySubscriptionsAtOnePublisher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, p := publisher(t, mesh, link.Config{})
		client := mesh.Node(link.Config{})
		n := 300
		if race.Enabled {
			// This is enough for the last few to get a smaller share of credit than the others.
			n = 100
		}
		var all []*pubsub.Subscription[order]
		for i := range n {
			all = append(all, subscribe(t, client, pubsub.NewTopic[order]("orders", fmt.Sprintf("placed.%d", i)), pubsub.Reliable))
		}
		// The body is longer than the credit of one of them.
		body := string(make([]byte, 100<<10))
		for i := range n {
			if _, err := p.Publish(t.Context(), order{ID: body, Cents: int64(i)}, pubsub.Below(fmt.Sprint(i))); err != nil {
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
		// The credit of the closed subscriptions is free again.
		publish(t, p, 1, 1)
		subscribe(t, client, placed, pubsub.FromLast(1))
	})
}

// TestAllOfTheCreditComesBack sends many frames and then a message that takes nearly all the
// credit of a subscription, several times, and expects that the long messages arrive.
func TestAllOfTheCreditComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		node := mesh.Node(link.Config{Service: "feed"})
		p, err := pubsub.NewPublisher(node, ticks)
		if err != nil {
			t.Fatal(err)
		}
		mesh.Start(node)
		pubsub.AllowBackpressure(node, time.Second)
		s, err := pubsub.Subscribe(t.Context(), mesh.Node(link.Config{}), ticks, pubsub.Backpressure(time.Second))
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

// TestALongMessageOverASlowPathIsNotStuck sends a message that makes progress all the time but
// takes longer than StuckTime to arrive, and expects that its subscription is not disconnected.
func TestALongMessageOverASlowPathIsNotStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, p := publisher(t, mesh, link.Config{})
		client := mesh.Node(link.Config{})
		// These subscriptions share the credit of their connection with s below.
		for range 40 {
			subscribe(t, client, pubsub.NewTopic[order]("orders", "other"))
		}
		s := subscribe(t, client, placed, pubsub.Reliable)
		mesh.SetDelay(time.Second / 2)
		began := time.Now()
		if _, err := p.Publish(t.Context(), order{ID: string(make([]byte, 4<<20-100))}); err != nil {
			t.Fatal(err)
		}
		if m := take(t, s, 1)[0]; m.Gap != nil || len(m.Value.ID) != 4<<20-100 {
			t.Errorf("got %d bytes, gap %+v", len(m.Value.ID), m.Gap)
		}
		if n := pubsub.StatsOf(node).Published.Stuck; n != 0 {
			t.Errorf("%d subscriptions were disconnected", n)
		}
		if d := time.Since(began); d < pubsub.StuckTime {
			t.Errorf("it took %v, which proves nothing", d)
		}
	})
}

// TestCreditThatOthersTook has other streams take the credit of a connection before a
// subscription begins to read, and expects that the subscription, which has no credit left to
// grant, does not stall.
func TestCreditThatOthersTook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, p := publisher(t, mesh, link.Config{})
		client := mesh.Node(link.Config{})
		s := subscribe(t, client, placed, pubsub.Reliable)
		const n = 200
		for range n {
			if _, err := p.Publish(t.Context(), order{ID: string(make([]byte, 20<<10))}); err != nil {
				t.Fatal(err)
			}
		}
		// Wait until the publisher has used all the credit of the subscription.
		sleep(5 * time.Second)
		link.HostOf(node).Handle(link.Route{Service: "orders", Name: "greedy", Kind: link.KindTopic}, func(ctx context.Context, _ *link.Stream) error {
			<-ctx.Done()
			return nil
		})
		var greedy []*link.Stream
		for bytes := 1 << 20; bytes >= 1<<10; bytes /= 2 {
			for {
				st, err := link.HostOf(client).Open(t.Context(), link.Route{Service: "orders", Name: "greedy", Kind: link.KindTopic}, link.StreamCredit(1, bytes))
				if err != nil {
					break
				}
				greedy = append(greedy, st)
			}
		}
		read := make(chan uint64, n)
		go func() {
			for m := range s.Messages() {
				read <- m.Seq
			}
		}()
		sleep(10 * time.Second)
		for _, st := range greedy {
			st.Close()
		}
		sleep(10 * time.Second)
		if stuck := pubsub.StatsOf(node).Published.Stuck; len(read) != n || stuck > 0 {
			t.Errorf("%d messages of %d arrived, and %d subscriptions were taken for stuck", len(read), n, stuck)
		}
	})
}
