package pubsub_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/internal/logtest"
	"github.com/linkmesh/link/protocol/pubsub"
)

func TestASubscriptionWithoutAPublisherIsSaidOnce(t *testing.T) {
	for name, c := range map[string]struct {
		topic pubsub.Topic[order]
		says  string
	}{
		"a mistyped service":    {pubsub.NewTopic[order]("ordrs", "placed"), `the nearest name there is \"orders\"`},
		"a service without any": {pubsub.NewTopic[order]("users", "placed"), "none of the 1 connected instances in"},
		"a shared topic":        {pubsub.NewSharedTopic[order]("placed"), "no service is known that publishes to it"},
		"one with a publisher":  {placed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				publisher(t, mesh, link.Config{})
				mesh.Start(mesh.Node(link.Config{Service: "users"}))
				log := &logtest.Log{}
				client := mesh.Node(link.Config{Logger: log.Logger()})
				subscribe(t, client, c.topic)
				sleep(4 * time.Second)
				if strings.Contains(log.String(), "no publisher yet") {
					t.Errorf("it is said at once:\n%s", log)
				}
				sleep(time.Minute)
				want := 1
				if c.says == "" {
					want = 0
				}
				if n := strings.Count(log.String(), "no publisher yet"); n != want || !strings.Contains(log.String(), c.says) {
					t.Errorf("said %d times, want %d, with %q:\n%s", n, want, c.says, log)
				}
			})
		})
	}
}

// TestAnInstanceWithoutAPublisherDelaysNothing has instances that do not publish yet, as in a rolling
// deployment, and expects that they delay nobody and cause no warning.
func TestAnInstanceWithoutAPublisherDelaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, first := publisher(t, mesh, link.Config{})
		var without []*link.Node
		for range 3 {
			node := mesh.Node(link.Config{Service: "orders"})
			mesh.Start(node)
			without = append(without, node)
		}
		log := &logtest.Log{}
		client := mesh.Node(link.Config{Logger: log.Logger()})
		began := time.Now()
		s := subscribe(t, client, placed)
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("Subscribe took %v", took)
		}
		publish(t, first, 1, 3)
		take(t, s, 3)
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("the messages took %v", took)
		}
		sleep(time.Minute)
		if strings.Contains(log.String(), "level=WARN") {
			t.Errorf("the log:\n%s", log)
		}
		// If one of them begins to publish, its messages arrive from the first one on.
		late, err := pubsub.NewPublisher(without[0], placed)
		if err != nil {
			t.Fatal(err)
		}
		publish(t, late, 1, 2)
		for i, m := range take(t, s, 2) {
			if m.Publisher != without[0].Instance() || m.Value.ID != fmt.Sprint(i+1) {
				t.Errorf("message %d: %+v", i, m)
			}
		}
	})
}

// TestAnIdleSubscriptionEndsAtOnce checks that Close does not wait for the time after which a
// subscription without a publisher is logged.
func TestAnIdleSubscriptionEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ctx, cancel := context.WithCancel(t.Context())
		s, err := pubsub.Subscribe(ctx, mesh.Node(link.Config{}), placed)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		began := time.Now()
		s.Close()
		if took := time.Since(began); took > time.Second {
			t.Errorf("Close took %v", took)
		}
	})
}

// TestAMistypedTopicIsSaidOnce subscribes to topics that nobody publishes to, at a service that
// publishes to others. It expects one log message after a while, with the name that may have been
// meant, and that the statistics of both sides report it.
func TestAMistypedTopicIsSaidOnce(t *testing.T) {
	for name, c := range map[string]struct {
		topic pubsub.Topic[order]
		// local is set if the publisher's node subscribes.
		local bool
		says  string
	}{
		"mistyped":                 {pubsub.NewTopic[order]("orders", "plcaed"), false, `the nearest name there is \"placed\"`},
		"mistyped, below":          {pubsub.NewTopic[order]("orders", "plcaed.eu"), false, `the nearest name there is \"placed\"`},
		"mistyped, a pattern":      {pubsub.NewTopic[order]("orders", "plcaed.>"), false, `the nearest name there is \"placed\"`},
		"mistyped, on the node":    {pubsub.NewTopic[order]("orders", "plcaed"), true, `the nearest name there is \"placed\"`},
		"like no other":            {pubsub.NewTopic[order]("orders", "shipped"), false, "none of the 1 instances that are connected publishes to it"},
		"mistyped, dead letters":   {pubsub.DeadLetters(pubsub.NewTopic[order]("orders", "plcaed")), false, `the nearest name there is \"placed\"`},
		"one that may not be seen": {pubsub.NewTopic[order]("orders", "secrat"), false, "publishes to it\""},
		"right":                    {placed, false, ""},
		"right, dead letters":      {pubsub.DeadLetters(placed), false, ""},
		"below one":                {pubsub.NewTopic[order]("orders", "placed.*.42"), false, ""},
		"all":                      {pubsub.NewTopic[order]("orders", ">"), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
				log := &logtest.Log{}
				node, _ := publisher(t, mesh, link.Config{Logger: log.Logger()})
				if _, err := pubsub.NewPublisher(node, pubsub.NewTopic[order]("orders", "secret")); err != nil {
					t.Fatal(err)
				}
				pubsub.Authorize(node, func(a pubsub.Access) error {
					if a.Topic == "secret" {
						return errors.New("nobody may")
					}
					return nil
				})
				client := node
				if !c.local {
					client = mesh.Node(link.Config{Logger: log.Logger()})
				}
				s := subscribe(t, client, c.topic)
				sleep(4 * time.Second)
				if log.Has("waits") {
					t.Errorf("it is said at once:\n%s", log)
				}
				sleep(time.Minute)
				want := 0
				if c.says != "" {
					want = 1
				}
				if n := log.Count("nobody publishes to its topic", c.says); n != want || log.Count("level=WARN") != want {
					t.Errorf("said %d times, want %d, with %q:\n%s", n, want, c.says, log)
				}
				subs := pubsub.StatsOf(client).Subscriptions
				reader := pubsub.StatsOf(node).Readers[0]
				if len(subs) != 1 || (subs[0].Idle != "") != (want == 1) || subs[0].Publishers[0].Unpublished != (want == 1) || reader.Unpublished != (want == 1) {
					t.Errorf("the statistics: %+v, and of the publisher: %+v", subs, reader)
				}
				// Once the topic has a publisher, the statistics report nothing, and the first message arrives.
				if name != "mistyped" {
					return
				}
				p, err := pubsub.NewPublisher(node, c.topic)
				if err != nil {
					t.Fatal(err)
				}
				sleep(2 * time.Second)
				if subs := pubsub.StatsOf(client).Subscriptions; subs[0].Idle != "" || subs[0].Publishers[0].Unpublished || pubsub.StatsOf(node).Readers[0].Unpublished {
					t.Errorf("the statistics, when somebody publishes to it: %+v", subs)
				}
				publish(t, p, 1, 1)
				if m := take(t, s, 1)[0]; m.Value.ID != "1" {
					t.Errorf("got %+v", m)
				}
			})
		})
	}
}

// TestATopicThatOneInstancePublishesIsNotMissed checks that there is no warning about a topic that one
// instance publishes to and another one does not.
func TestATopicThatOneInstancePublishesIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		publisher(t, mesh, link.Config{})
		other := mesh.Node(link.Config{Service: "orders"})
		if _, err := pubsub.NewPublisher(other, pubsub.NewTopic[order]("orders", "shipped")); err != nil {
			t.Fatal(err)
		}
		mesh.Start(other)
		log := &logtest.Log{}
		client := mesh.Node(link.Config{Logger: log.Logger()})
		subscribe(t, client, placed)
		sleep(time.Minute)
		if log.Has("level=WARN") {
			t.Errorf("the log:\n%s", log)
		}
		if s := pubsub.StatsOf(client).Subscriptions[0]; s.Idle != "" {
			t.Errorf("the statistics: %+v", s)
		}
	})
}
