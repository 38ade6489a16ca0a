package pubsub_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// TestBlockIsAboutItsOwnTopic publishes much to another topic, and expects that no publish waits
// for a subscription that has all it asked for, not even a publish to the subscription's topic.
func TestBlockIsAboutItsOwnTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, p := publisher(t, mesh, link.Config{})
		other, err := pubsub.NewPublisher(node, pubsub.NewTopic[[]byte]("orders", "other"))
		if err != nil {
			t.Fatal(err)
		}
		pubsub.AllowBackpressure(node, pubsub.MaxBlock)
		s := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.Backpressure(10*time.Second))
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

// TestBlockedTimesDoNotAddUp has several subscriptions that read nothing, and expects that a
// publish waits for them no longer than for one.
func TestBlockedTimesDoNotAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, p := publisher(t, mesh, link.Config{})
		const most = 5 * time.Second
		pubsub.AllowBackpressure(node, most)
		for range 5 {
			// The publisher's node limits the time to most.
			subscribe(t, mesh.Node(link.Config{}), placed, pubsub.Backpressure(2*most))
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

// TestNobodyBlocksAPublisherThatDoesNotAllowIt (SEC-720) checks that a subscriber that reads
// nothing delays publishes only if the publisher's node allows it, and that the rules of the
// node see for how long.
func TestNobodyBlocksAPublisherThatDoesNotAllowIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, p := publisher(t, mesh, link.Config{})
		client := mesh.Node(link.Config{})
		greedy := func() error {
			s, err := pubsub.Subscribe(t.Context(), client, placed, pubsub.Backpressure(pubsub.MaxBlock))
			if err == nil {
				t.Cleanup(s.Close)
			}
			return err
		}
		if err := greedy(); !errors.Is(err, link.PermissionDenied) || !strings.Contains(err.Error(), "pubsub.AllowBackpressure") {
			t.Errorf("without leave: %v", err)
		}
		pubsub.AllowBackpressure(node, time.Second)
		var asked []time.Duration
		pubsub.Authorize(node, func(a pubsub.Access) error {
			asked = append(asked, a.Block)
			if a.Block > 0 {
				return errors.New("not you")
			}
			return nil
		})
		if err := greedy(); !errors.Is(err, link.PermissionDenied) {
			t.Errorf("against the rules: %v", err)
		}
		subscribe(t, client, placed)
		if want := []time.Duration{time.Second, 0}; !slices.Equal(asked, want) {
			t.Errorf("the rules saw %v, want %v", asked, want)
		}
		began := time.Now()
		body := order{ID: string(make([]byte, 1<<20))}
		// 30 MiB is more than any subscription may be behind.
		for range 30 {
			if _, err := p.Publish(t.Context(), body); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("publishing took %v", took)
		}
	})
}
