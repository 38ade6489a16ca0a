package pubsub_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

func TestWhatFailsTooOftenIsADeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, p := publisher(t, mesh, link.Config{})
		s, err := pubsub.SubscribeFunc(t.Context(), mesh.Node(link.Config{}), placed, func(_ context.Context, m pubsub.Message[order]) error {
			if m.Value.ID == "2" {
				return errors.New("poison")
			}
			return nil
		}, pubsub.AtLeastOnce, pubsub.Group("billing"))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		dead := subscribe(t, mesh.Node(link.Config{}), pubsub.DeadLetters(placed))
		sent := time.Now()
		publish(t, p, 1, 3, pubsub.Key("k"), pubsub.Header("h", "v"))
		m := take(t, dead, 1)[0]
		d := m.DeadLetter()
		if m.Value.ID != "2" || m.Topic != "placed" || m.Key != "k" || m.Header("h") != "v" || d == nil {
			t.Fatalf("got %+v, %+v", m, d)
		}
		if d.Seq != 2 || d.Reason != "too many deliveries" || d.Group != "billing" || len(d.History) != 5 || !d.Published.Equal(sent) ||
			d.Attempts != 5 || d.Cause != "poison" || !d.Time.Equal(m.Time) || d.Time.Before(d.History[4].Ended) {
			t.Errorf("got %+v", d)
		}
		for i, a := range d.History {
			if a.Outcome != "nacked" || a.Cause != "poison" || a.Ended.Before(a.Began) || i > 0 && a.Began.Before(d.History[i-1].Ended) {
				t.Errorf("attempt %d is %+v", i, a)
			}
		}
		// A dead letter is counted after it was published.
		synctest.Wait()
		if got := pubsub.StatsOf(node).Published.DeadLetters; got != 1 {
			t.Errorf("%d dead letters counted", got)
		}
		// Dead letters are kept like other messages.
		late := subscribe(t, mesh.Node(link.Config{}), pubsub.DeadLetters(pubsub.NewTopic[order]("orders", ">")), pubsub.FromOldest())
		if m := take(t, late, 1)[0]; m.Value.ID != "2" || m.DeadLetter() == nil {
			t.Errorf("got %+v", m)
		}
	})
}

func TestDeadLettersAreLinksOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, p := publisher(t, mesh, link.Config{})
		if _, err := pubsub.NewPublisher(node, pubsub.DeadLetters(placed)); !errors.Is(err, link.InvalidArgument) {
			t.Errorf("publishing dead letters: %v", err)
		}
		_, err := p.Publish(t.Context(), order{}, pubsub.Header("_link.dead", "x"))
		if !errors.Is(err, link.InvalidArgument) || !strings.Contains(err.Error(), "_link.dead") {
			t.Errorf("a header of link's: %v", err)
		}
	})
}

// TestADeadLetterThatFailsToo checks that a dead letter that fails makes no further dead letter,
// and is counted as lost.
func TestADeadLetterThatFailsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, p := publisher(t, mesh, link.Config{})
		fail := func(context.Context, pubsub.Message[order]) error { return errors.New("no") }
		for _, topic := range []pubsub.Topic[order]{placed, pubsub.DeadLetters(placed)} {
			s, err := pubsub.SubscribeFunc(t.Context(), mesh.Node(link.Config{}), topic, fail, pubsub.AtLeastOnce)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
		}
		publish(t, p, 1, 1)
		// The backoff of five deliveries, for the message and for its dead letter, takes half of this.
		sleep(10 * time.Minute)
		if got := pubsub.StatsOf(node).Published; got.DeadLetters != 1 || got.DeadLettersLost != 1 {
			t.Errorf("kept %d, lost %d", got.DeadLetters, got.DeadLettersLost)
		}
	})
}
