package pubsub_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

type order struct {
	ID    string
	Cents int64
}

var placed = pubsub.NewTopic[order]("orders", "placed")

// publisher starts a node that publishes placed.
func publisher(t *testing.T, mesh *linktest.Mesh, cfg link.Config) (*link.Node, *pubsub.Publisher[order]) {
	t.Helper()
	cfg.Service = "orders"
	node := mesh.Node(cfg)
	p, err := pubsub.NewPublisher(node, placed)
	if err != nil {
		t.Fatal(err)
	}
	mesh.Start(node)
	return node, p
}

func subscribe(t *testing.T, node *link.Node, topic pubsub.Topic[order], opts ...pubsub.SubscribeOption) *pubsub.Subscription[order] {
	t.Helper()
	s, err := pubsub.Subscribe(t.Context(), node, topic, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func publish(t *testing.T, p *pubsub.Publisher[order], from, to int, opts ...pubsub.PublishOption) {
	t.Helper()
	for i := from; i <= to; i++ {
		if _, err := p.Publish(t.Context(), order{ID: fmt.Sprint(i), Cents: int64(i)}, opts...); err != nil {
			t.Fatal(err)
		}
	}
}

// take returns the next n messages.
func take(t *testing.T, s *pubsub.Subscription[order], n int) []pubsub.Message[order] {
	t.Helper()
	var got []pubsub.Message[order]
	for m := range s.Messages() {
		if m.Err != nil {
			t.Fatal(m.Err)
		}
		if got = append(got, m); len(got) == n {
			return got
		}
	}
	t.Fatalf("the subscription ended after %d messages, want %d: %v", len(got), n, s.Err())
	return nil
}

func TestMessagesArriveInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(5*time.Millisecond))
		node, p := publisher(t, mesh, link.Config{})
		a, b := subscribe(t, mesh.Node(link.Config{}), placed), subscribe(t, mesh.Node(link.Config{}), placed)
		report, err := p.Publish(t.Context(), order{ID: "0"}, pubsub.Key("k"), pubsub.Header("h", "v"))
		if err != nil || report.Matched != 2 || report.Queued != 2 || report.Dropped != 0 {
			t.Errorf("report %+v, %v", report, err)
		}
		publish(t, p, 1, 500)
		for _, s := range []*pubsub.Subscription[order]{a, b} {
			for i, m := range take(t, s, 501) {
				if m.Gap != nil || m.Value.ID != fmt.Sprint(i) || m.Seq != uint64(i+1) || m.Topic != "placed" || m.Publisher != node.Instance() || m.Replayed {
					t.Fatalf("message %d is %+v", i, m)
				}
				if i == 0 && (m.Key != "k" || m.Header("h") != "v" || m.Header("x") != "") {
					t.Errorf("message 0 is %+v", m)
				}
			}
		}
	})
}

func TestPatternsAndNamesBelow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, p := publisher(t, mesh, link.Config{})
		client := mesh.Node(link.Config{})
		all := subscribe(t, client, pubsub.NewTopic[order]("orders", "placed.>"))
		one := subscribe(t, client, pubsub.NewTopic[order]("orders", "placed.*.42"))
		publish(t, p, 1, 1)
		publish(t, p, 2, 2, pubsub.Below("eu.41"))
		publish(t, p, 3, 3, pubsub.Below("eu.42"))
		if got := take(t, all, 2); got[0].Value.ID != "2" || got[1].Topic != "placed.eu.42" {
			t.Errorf("got %+v and %+v", got[0], got[1])
		}
		if got := take(t, one, 1); got[0].Value.ID != "3" {
			t.Errorf("got %+v", got[0])
		}
	})
}

func TestASlowSubscriberIsToldWhatItMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, p := publisher(t, mesh, link.Config{})
		s := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.Buffer(10, 0, 0))
		const n = 100_000 // more than credit and backlog hold
		publish(t, p, 1, n)
		got, gone := 0, uint64(0)
		for m := range s.Messages() {
			if m.Gap != nil {
				if m.Gap.Reason != "overflow" || m.Gap.Count == 0 {
					t.Fatalf("gap %+v", m.Gap)
				}
				gone += m.Gap.Count
			} else {
				got++
			}
			if uint64(got)+gone == n {
				break
			}
		}
		if gone == 0 {
			t.Error("nothing was dropped, so nothing was tested")
		}
	})
}

// TestWhatIsDropped checks that the newest message arrives, unless DropNewest drops it.
func TestWhatIsDropped(t *testing.T) {
	for newest, opts := range map[bool][]pubsub.SubscribeOption{
		false: {pubsub.Buffer(10, 0, 0)},
		true:  {pubsub.Buffer(10, 0, 0), pubsub.DropNewest()},
	} {
		synctest.Test(t, func(t *testing.T) {
			mesh := linktest.NewMesh(t)
			_, p := publisher(t, mesh, link.Config{})
			s := subscribe(t, mesh.Node(link.Config{}), placed, opts...)
			const n, step = 20_000, 5 // more than credit and backlog hold
			big := order{ID: string(make([]byte, 1000))}
			for i := range n {
				if _, err := p.Publish(t.Context(), big); err != nil {
					t.Fatal(err)
				}
				// The subscriber takes all it has credit for before there is no room.
				if i%step == 0 {
					synctest.Wait()
				}
			}
			got, gone := uint64(0), uint64(0)
			var last pubsub.Message[order]
			for last = range s.Messages() {
				if last.Gap == nil {
					got++
				} else {
					gone += last.Gap.Count
				}
				if got+gone == n {
					break
				}
			}
			if gone == 0 {
				t.Error("nothing was dropped, so nothing was tested")
			}
			if newest != (last.Gap != nil) {
				t.Errorf("DropNewest %v: what was published last is told as %+v", newest, last.Gap)
			}
		})
	}
}

func TestABlockedPublisherLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, p := publisher(t, mesh, link.Config{})
		pubsub.AllowBackpressure(node, pubsub.MaxBlock)
		s := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.Backpressure(10*time.Second))
		const n = 20_000
		go func() {
			big := order{ID: string(make([]byte, 1000))}
			for i := range n {
				big.Cents = int64(i)
				if _, err := p.Publish(t.Context(), big); err != nil {
					t.Error(err)
				}
			}
		}()
		for i, m := range take(t, s, n) {
			if m.Gap != nil || m.Value.Cents != int64(i) {
				t.Fatalf("message %d is %+v, %+v", i, m, m.Gap)
			}
		}
	})
}

func TestHistoryJoinsWhatIsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, p := publisher(t, mesh, link.Config{})
		publish(t, p, 1, 100)
		client := mesh.Node(link.Config{})
		oldest, last := subscribe(t, client, placed, pubsub.FromOldest()), subscribe(t, client, placed, pubsub.FromLast(10))
		publish(t, p, 101, 200)
		for s, from := range map[*pubsub.Subscription[order]]int{oldest: 1, last: 91} {
			for i, m := range take(t, s, 200-from+1) {
				if m.Value.Cents != int64(from+i) || m.Replayed != (m.Value.Cents <= 100) {
					t.Fatalf("message %d from %d is %+v", i, from, m)
				}
			}
		}
	})
}

// TestPublishersComeAndGo subscribes once, and expects the messages of all publishers.
func TestPublishersComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		a, pa := publisher(t, mesh, link.Config{})
		s := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.Reliable)
		publish(t, pa, 1, 10)
		b, pb := publisher(t, mesh, link.Config{})
		publish(t, pb, 11, 20) // before the subscription knows b
		from := make(map[string]int)
		for _, m := range take(t, s, 20) {
			from[m.Publisher]++
		}
		if from[a.Instance()] != 10 || from[b.Instance()] != 10 {
			t.Errorf("messages by publisher: %v", from)
		}
		publish(t, pa, 21, 30)
		mesh.Stop(a)
		publish(t, pb, 31, 40)
		from = make(map[string]int)
		for _, m := range take(t, s, 20) {
			if m.Gap != nil {
				t.Errorf("gap %+v", m.Gap)
			}
			from[m.Publisher]++
		}
		if from[a.Instance()] != 10 || from[b.Instance()] != 10 {
			t.Errorf("messages by publisher: %v", from)
		}
	})
}

func TestALostConnectionIsResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		node, p := publisher(t, mesh, link.Config{})
		client := mesh.Node(link.Config{})
		s := subscribe(t, client, placed, pubsub.Reliable)
		publish(t, p, 1, 10)
		take(t, s, 10)
		mesh.Partition(node, client)
		publish(t, p, 11, 20)
		sleep(time.Minute)
		publish(t, p, 21, 30)
		mesh.Heal(node, client)
		for i, m := range take(t, s, 20) {
			if m.Gap != nil || m.Value.Cents != int64(11+i) {
				t.Fatalf("message %d is %+v, %+v", i, m, m.Gap)
			}
		}
	})
}

func TestAMessageThatFailedComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, p := publisher(t, mesh, link.Config{})
		s := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.AtLeastOnce)
		publish(t, p, 1, 3)
		got := take(t, s, 3)
		got[0].Ack()
		got[1].Nack(pubsub.Retry(2*time.Second, errors.New("not now")))
		got[2].Nack(pubsub.Release("not here"))
		if m := take(t, s, 1)[0]; m.Value.ID != "3" || m.Attempt != 1 {
			t.Errorf("released: %+v", m)
		} else {
			m.Ack()
		}
		start := time.Now()
		if m := take(t, s, 1)[0]; m.Value.ID != "2" || m.Attempt != 2 || time.Since(start) < time.Second {
			t.Errorf("after %v: %+v", time.Since(start), m)
		} else {
			m.Ack()
		}
		sleep(5 * time.Minute) // ten times the default lease
		publish(t, p, 4, 4)
		if m := take(t, s, 1)[0]; m.Value.ID != "4" {
			t.Errorf("what was acked came again: %+v", m)
		}
	})
}

// TestARangeDoesNotAckWhatWasGivenBack answers more messages at once than fit one frame.
func TestARangeDoesNotAckWhatWasGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, p := publisher(t, mesh, link.Config{})
		s := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.AtLeastOnce)
		const n = 600
		publish(t, p, 1, n)
		got := take(t, s, n)
		for _, m := range got[1 : n/2] {
			m.Nack(pubsub.Retry(time.Second, errors.New("not now")))
		}
		got[n/2].Nack(pubsub.Release("not here"))
		got[n-1].AckThrough() // acks the first message as well
		again := take(t, s, n/2)
		for i, m := range append(again[1:], again[0]) {
			if m.Gap != nil || m.Seq != uint64(i+2) {
				t.Fatalf("message %d that comes again is %+v, %+v", i, m, m.Gap)
			}
			m.Ack()
		}
		sleep(5 * time.Minute)
		publish(t, p, n+1, n+1)
		if m := take(t, s, 1)[0]; m.Seq != n+1 {
			t.Errorf("what was acked came again: %+v", m)
		}
	})
}

func TestAGroupSharesMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, p := publisher(t, mesh, link.Config{})
		a := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.Group("billing"))
		b := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.Group("billing"))
		for i := range 100 {
			publish(t, p, i, i, pubsub.Key(fmt.Sprint(i%10)))
		}
		sleep(time.Second)
		seen := make(map[string]string)
		count := 0
		for name, s := range map[string]*pubsub.Subscription[order]{"a": a, "b": b} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			stop := context.AfterFunc(ctx, s.Close)
			for m := range s.Messages() {
				count++
				if other, ok := seen[m.Key]; ok && other != name {
					t.Errorf("key %s went to both members", m.Key)
				}
				seen[m.Key] = name
			}
			stop()
			cancel()
		}
		if count != 100 {
			t.Errorf("%d deliveries of 100 messages", count)
		}
	})
}

func TestWhoMayNotSubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, _ := publisher(t, mesh, link.Config{})
		pubsub.Authorize(node, func(a pubsub.Access) error {
			if a.Peer.Service() == "billing" && a.Verb == pubsub.CanRead && pubsub.Covers("placed.eu.>", a.Topic) {
				return nil
			}
			return errors.New("only billing, and only the EU")
		})
		for name, c := range map[string]struct {
			service, pattern string
			ok               bool
		}{
			"allowed":           {"billing", "placed.eu.>", true},
			"a part of it":      {"billing", "placed.eu.42", true},
			"more than allowed": {"billing", "placed.>", false},
			"somebody else":     {"mallory", "placed.eu.42", false},
		} {
			s, err := pubsub.Subscribe(t.Context(), mesh.Node(link.Config{Service: c.service}), pubsub.NewTopic[order]("orders", c.pattern))
			if c.ok != (err == nil) || !c.ok && !errors.Is(err, link.PermissionDenied) {
				t.Errorf("%s: %v", name, err)
			}
			if err == nil {
				s.Close()
			}
		}
	})
}

func TestWhatIsWrongIsSaidAtOnce(t *testing.T) {
	mesh := linktest.NewMesh(t)
	node := mesh.Node(link.Config{Service: "orders"})
	for name, topic := range map[string]pubsub.Topic[order]{
		"no name":         pubsub.NewTopic[order]("orders", ""),
		"an empty token":  pubsub.NewTopic[order]("orders", "a..b"),
		"a pattern":       pubsub.NewTopic[order]("orders", "placed.*"),
		"a reserved name": pubsub.NewTopic[order]("orders", "_link.x"),
	} {
		if _, err := pubsub.NewPublisher(node, topic); !errors.Is(err, link.InvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := pubsub.NewPublisher(mesh.Node(link.Config{Service: "billing"}), placed); !errors.Is(err, link.FailedPrecondition) {
		t.Errorf("another service's topic: %v", err)
	}
	if _, err := pubsub.Subscribe(t.Context(), node, pubsub.NewTopic[order]("orders", "a.>.b")); !errors.Is(err, link.InvalidArgument) {
		t.Errorf("a bad pattern: %v", err)
	}
}

// TestAStuckSubscriberIsDisconnected has a subscriber read nothing, and expects that it delays nobody and
// is disconnected.
func TestAStuckSubscriberIsDisconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, p := publisher(t, mesh, link.Config{})
		subscribe(t, mesh.Node(link.Config{}), placed) // never read
		good := subscribe(t, mesh.Node(link.Config{}), placed)
		// The credit is used up after half a minute, and the subscriber is stuck another half later.
		for range 120 {
			publish(t, p, 1, 1000)
			take(t, good, 1000)
			sleep(time.Second)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.WaitSubscribers(ctx, 3); !errors.Is(err, link.DeadlineExceeded) {
			t.Errorf("waiting for more than there are: %v", err)
		}
		if n := pubsub.StatsOf(node).Published.Stuck; n == 0 {
			t.Error("the publisher has disconnected nobody")
		}
	})
}

// TestASessionIsResumed loses the connection while messages are in flight, and expects them to arrive.
func TestASessionIsResumed(t *testing.T) {
	for name, away := range map[string]time.Duration{"soon": 20 * time.Second, "after the session has ended": 3 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
				node, p := publisher(t, mesh, link.Config{})
				client := mesh.Node(link.Config{})
				s := subscribe(t, client, placed, pubsub.AtLeastOnce)
				publish(t, p, 1, 3)
				take(t, s, 3)[0].Ack()
				sleep(time.Second)
				mesh.Partition(node, client)
				publish(t, p, 4, 5)
				sleep(away)
				mesh.Heal(node, client)
				publish(t, p, 6, 6)
				missing := map[string]bool{"2": true, "3": true, "4": true, "5": true, "6": true}
				if away > time.Minute { // The session has ended, so a gap may stand for earlier messages.
					missing = map[string]bool{"6": true}
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				defer context.AfterFunc(ctx, s.Close)()
				for m := range s.Messages() {
					delete(missing, m.Value.ID)
					m.Ack()
					if len(missing) == 0 {
						break
					}
				}
				if len(missing) > 0 {
					t.Errorf("never delivered: %v", missing)
				}
			})
		})
	}
}
