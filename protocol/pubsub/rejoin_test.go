package pubsub_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// within returns what comes in a time, in words: a message by its ID, a gap by its reason.
func within(s *pubsub.Subscription[order], d time.Duration) []string {
	got := make(chan string, 1<<16)
	stop := make(chan struct{})
	go func() {
		for m := range s.Messages() {
			if m.Gap != nil {
				got <- m.Gap.Reason
			} else {
				got <- m.Value.ID
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	sleep(d)
	close(stop)
	var list []string
	for len(got) > 0 {
		list = append(list, <-got)
	}
	return list
}

func want(t *testing.T, got []string, list ...string) {
	t.Helper()
	if !slices.Equal(got, list) {
		t.Errorf("got %v, want %v", got, list)
	}
}

// apart cuts two nodes off from each other for a time.
func apart(mesh *linktest.Mesh, a, b *link.Node, d time.Duration) {
	mesh.Partition(a, b)
	sleep(d)
	mesh.Heal(a, b)
}

// TestAnExpiredSessionBeginsAnew at a publisher that nobody else keeps awake.
func TestAnExpiredSessionBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, p := publisher(t, mesh, link.Config{})
		client := mesh.Node(link.Config{})
		s := subscribe(t, client, placed, pubsub.In(pubsub.AtLeastOnce))
		publish(t, p, 1, 1)
		take(t, s, 1)[0].Ack()
		sleep(time.Second)
		apart(mesh, node, client, 3*time.Minute)
		sleep(time.Minute)
		publish(t, p, 2, 2)
		want(t, within(s, time.Minute), "2")
		if err := s.Err(); err != nil {
			t.Error(err)
		}
	})
}

// TestWhatWasNackedOutlivesItsSession has a message that is to come again much later,
// when its publisher has forgotten the session.
func TestWhatWasNackedOutlivesItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, p := publisher(t, mesh, link.Config{})
		client := mesh.Node(link.Config{})
		s := subscribe(t, client, placed, pubsub.In(pubsub.AtLeastOnce))
		publish(t, p, 1, 3)
		got := take(t, s, 3)
		got[0].Ack()
		got[1].Nack(4*time.Minute, "not now")
		got[2].Ack()
		sleep(time.Second)
		other := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.In(pubsub.AtLeastOnce), pubsub.Resume(s.Bookmark()))
		if list := within(other, time.Second); !slices.Contains(list, "2") {
			t.Errorf("the bookmark is behind a message that was nacked: %v", list)
		}
		apart(mesh, node, client, 150*time.Second)
		if list := within(s, 10*time.Minute); !slices.Contains(list, "2") {
			t.Errorf("the nacked message is lost: %v", list)
		}
	})
}

// TestAConnectionThatIsLostBeforeAnythingIsRead has no position to go on at.
func TestAConnectionThatIsLostBeforeAnythingIsRead(t *testing.T) {
	for name, opt := range map[string]pubsub.SubscribeOption{"new": pubsub.In(pubsub.BestEffort), "by number": pubsub.FromSeq(6)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
				node, p := publisher(t, mesh, link.Config{})
				publish(t, p, 1, 5)
				client := mesh.Node(link.Config{})
				s := subscribe(t, client, placed, opt)
				publish(t, p, 6, 6)
				apart(mesh, node, client, 40*time.Second)
				sleep(40 * time.Second)
				publish(t, p, 7, 7)
				want(t, within(s, time.Minute), "6", "7")
			})
		})
	}
}

// fickle is a registry that says what the test tells it.
type fickle struct {
	discovery.Registry
	said chan discovery.Snapshot
}

func (f *fickle) Watch(context.Context, discovery.Query) (<-chan discovery.Snapshot, error) {
	return f.said, nil
}

// TestAPublisherThatDiscoveryLosesForAWhile goes on where it was, and a bookmark knows it
// all the time.
func TestAPublisherThatDiscoveryLosesForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		node, p := publisher(t, mesh, link.Config{})
		watch, err := mesh.Registry().Watch(t.Context(), discovery.Query{Service: "orders", Namespace: "default"})
		if err != nil {
			t.Fatal(err)
		}
		all := <-watch
		registry := &fickle{mesh.Registry(), make(chan discovery.Snapshot, 1)}
		registry.said <- all
		client := mesh.Node(link.Config{Registry: registry})
		s := subscribe(t, client, placed, pubsub.In(pubsub.Reliable))
		publish(t, p, 1, 3)
		take(t, s, 3)
		mesh.Partition(node, client)
		registry.said <- discovery.Snapshot{}
		sleep(time.Minute)
		publish(t, p, 4, 4)
		mark := s.Bookmark()
		mesh.Heal(node, client)
		registry.said <- all
		sleep(10 * time.Second)
		publish(t, p, 5, 5)
		want(t, within(s, time.Minute), "gone", "4", "5")
		other := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.In(pubsub.Reliable), pubsub.Resume(mark))
		want(t, within(other, time.Second), "4", "5")
	})
}

// TestAPublisherThatIsKilledIsToldOf and one that drains is not.
func TestAPublisherThatIsKilledIsToldOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		killed, a := publisher(t, mesh, link.Config{})
		drained, b := publisher(t, mesh, link.Config{})
		s := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.In(pubsub.Reliable))
		publish(t, a, 1, 1)
		publish(t, b, 1, 1)
		take(t, s, 2)
		mesh.Stop(drained)
		mesh.Kill(killed)
		publish(t, a, 2, 9)
		m := take(t, s, 1)[0]
		if m.Gap == nil || m.Gap.Reason != "gone" || m.Gap.Count != 0 || m.Publisher != killed.Instance() {
			t.Errorf("got %+v, %+v", m, m.Gap)
		}
		want(t, within(s, time.Hour))
	})
}

// TestABadNetworkMakesNoDeadLetters loses more connections than a message may fail.
func TestABadNetworkMakesNoDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		node, p := publisher(t, mesh, link.Config{})
		client := mesh.Node(link.Config{})
		s := subscribe(t, client, placed, pubsub.In(pubsub.AtLeastOnce))
		publish(t, p, 1, 3)
		for range 10 {
			apart(mesh, node, client, 35*time.Second)
			sleep(20 * time.Second)
		}
		for _, m := range take(t, s, 3) {
			if m.Gap != nil {
				t.Errorf("%+v", m.Gap)
			}
		}
		if n := pubsub.StatsOf(node).Published.DeadLetters; n > 0 {
			t.Errorf("%d dead letters that no handler has seen", n)
		}
	})
}

// TestAPublisherMadeWhileItsNodeRuns is subscribed to before, by another node and by its
// own.
func TestAPublisherMadeWhileItsNodeRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		node := mesh.Node(link.Config{Service: "orders"})
		mesh.Start(node)
		for _, client := range []*link.Node{mesh.Node(link.Config{}), node} {
			defer func(s *pubsub.Subscription[order]) { want(t, within(s, 2*time.Second), "1", "2") }(subscribe(t, client, placed))
		}
		sleep(time.Minute)
		p, err := pubsub.NewPublisher(node, placed)
		if err != nil {
			t.Fatal(err)
		}
		publish(t, p, 1, 2)
	})
}

// spelled is a codec of a user's own: CBOR by another name.
type spelled struct{ codec.Codec }

func (spelled) ID() uint8    { return 200 }
func (spelled) Name() string { return "spelled" }

func TestCodecsMustAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, p := publisher(t, mesh, link.Config{Codec: spelled{codec.CBOR()}})
		_, err := pubsub.Subscribe(t.Context(), mesh.Node(link.Config{}), placed)
		if !errors.Is(err, link.FailedPrecondition) || !strings.Contains(err.Error(), "Config.Codec") {
			t.Errorf("got %v", err)
		}
		s := subscribe(t, mesh.Node(link.Config{Codec: spelled{codec.CBOR()}}), placed)
		publish(t, p, 1, 1)
		want(t, within(s, time.Second), "1")
	})
}

// TestGapsAreToldOnce has a connection that is lost when gaps have been told: one was read,
// one has arrived, and one is on its way.
func TestGapsAreToldOnce(t *testing.T) {
	for _, class := range []pubsub.Class{pubsub.BestEffort, pubsub.Reliable, pubsub.AtLeastOnce} {
		for name, away := range map[string]time.Duration{"for a moment": 40 * time.Second, "for longer than a session is kept": 150 * time.Second} {
			for _, read := range []int{0, 1, 2, 3, 4, 5} {
				t.Run(fmt.Sprint(class, ", ", name, ", ", read), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { gapsOnce(t, class, away, read) })
				})
			}
		}
	}
}

func gapsOnce(t *testing.T, class pubsub.Class, away time.Duration, read int) {
	t.Helper()
	mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
	node, p := publisher(t, mesh, link.Config{})
	client := mesh.Node(link.Config{})
	s := subscribe(t, client, placed, pubsub.In(class))
	seen, told, n := make(map[uint64]bool), uint64(0), 0
	enter := func(m pubsub.Message[order]) {
		switch {
		case m.Gap == nil:
			seen[m.Seq] = true
			if m.Value.Cents > 5 || m.Value.Cents%2 == 0 {
				m.Ack() // others are asked for once more
			}
		case m.Gap.Count == 0:
			t.Errorf("gap %+v", m.Gap)
		default:
			told += m.Gap.Count
		}
	}
	body := string(make([]byte, 300<<10)) // of which a few wait, for want of credit, so that the others expire
	say := func(pieces int) {
		for range pieces {
			for _, opt := range []pubsub.PublishOption{pubsub.TTL(0), pubsub.TTL(time.Second), pubsub.TTL(time.Second)} {
				n++
				publishOne(t, p, order{ID: body, Cents: int64(n)}, opt)
			}
			sleep(2 * time.Second)
		}
	}
	for range 5 {
		n++
		publishOne(t, p, order{ID: body, Cents: int64(n)})
	}
	sleep(time.Second)
	say(3)
	for range read {
		enter(take(t, s, 1)[0])
		sleep(10 * time.Millisecond)
	}
	mesh.Partition(node, client)
	say(1)
	sleep(away)
	mesh.Heal(node, client)
	sleep(time.Minute)
	say(1)
	stop := time.AfterFunc(10*time.Minute, s.Close)
	defer stop.Stop()
	for m := range s.Messages() {
		enter(m)
	}
	if class != pubsub.AtLeastOnce {
		if told == 0 || len(seen)+int(told) != n {
			t.Errorf("%d messages came and %d were told as missing, of %d", len(seen), told, n)
		}
		return
	}
	// What expired on its way is a dead letter; what had come and had no ack is told as well.
	dead, expiring := int(pubsub.StatsOf(node).Published.DeadLetters), uint64(n-5)/3*2
	if told == 0 || told > expiring || len(seen)+int(told)+dead < n {
		t.Errorf("%d messages came, %d were told as missing and %d are dead letters; of %d, %d could expire", len(seen), told, dead, n, expiring)
	}
}

func publishOne(t *testing.T, p *pubsub.Publisher[order], o order, opts ...pubsub.PublishOption) {
	t.Helper()
	if _, err := p.Publish(t.Context(), o, opts...); err != nil {
		t.Fatal(err)
	}
}

// TestAPublisherWhosePortIsClosedIsGone at once, though the registry shows it for long.
func TestAPublisherWhosePortIsClosedIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		node, p := publisher(t, mesh, link.Config{})
		watch, err := mesh.Registry().Watch(t.Context(), discovery.Query{Service: "orders", Namespace: "default"})
		if err != nil {
			t.Fatal(err)
		}
		registry := &fickle{mesh.Registry(), make(chan discovery.Snapshot, 1)}
		registry.said <- <-watch // and nothing more
		s := subscribe(t, mesh.Node(link.Config{Registry: registry}), placed, pubsub.In(pubsub.Reliable))
		publish(t, p, 1, 1)
		take(t, s, 1)
		sleep(time.Minute)
		mesh.Crash(node)
		killed := time.Now()
		defer time.AfterFunc(time.Minute, s.Close).Stop() // or nothing would end the test
		m := take(t, s, 1)[0]
		if m.Gap == nil || m.Gap.Reason != "gone" || m.Publisher != node.Instance() {
			t.Errorf("got %+v, %+v", m, m.Gap)
		}
		t.Logf("told %v after the end", time.Since(killed))
		want(t, within(s, 30*time.Second)) // and not again
	})
}
