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
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// within returns what arrives within d: the ID of each message, and the reason of each gap.
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

// apart cuts two nodes off from each other for d.
func apart(mesh *linktest.Mesh, a, b *link.Node, d time.Duration) {
	mesh.Partition(a, b)
	sleep(d)
	mesh.Heal(a, b)
}

// TestAnExpiredSessionBeginsAnew lets a session expire at a publisher without other traffic.
func TestAnExpiredSessionBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, p := publisher(t, mesh, link.Config{})
		client := mesh.Node(link.Config{})
		s := subscribe(t, client, placed, pubsub.AtLeastOnce)
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

// TestWhatWasNackedOutlivesItsSession nacks a message with a delay that outlasts the session at
// the publisher, and expects that the message comes again.
func TestWhatWasNackedOutlivesItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, p := publisher(t, mesh, link.Config{})
		client := mesh.Node(link.Config{})
		s := subscribe(t, client, placed, pubsub.AtLeastOnce)
		publish(t, p, 1, 3)
		got := take(t, s, 3)
		got[0].Ack()
		got[1].Nack(pubsub.Retry(4*time.Minute, errors.New("not now")))
		got[2].Ack()
		sleep(time.Second)
		other := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.AtLeastOnce, pubsub.Resume(s.Bookmark()))
		if list := within(other, time.Second); !slices.Contains(list, "2") {
			t.Errorf("the bookmark is behind a message that was nacked: %v", list)
		}
		apart(mesh, node, client, 150*time.Second)
		if list := within(s, 10*time.Minute); !slices.Contains(list, "2") {
			t.Errorf("the nacked message is lost: %v", list)
		}
	})
}

// TestAConnectionThatIsLostBeforeAnythingIsRead resumes without a position, and misses no message.
func TestAConnectionThatIsLostBeforeAnythingIsRead(t *testing.T) {
	for name, opt := range map[string]pubsub.SubscribeOption{"new": pubsub.BestEffort, "by number": pubsub.FromSeq(6)} {
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

// fickle is a registry whose snapshots come from the test.
type fickle struct {
	discovery.Registry
	said chan discovery.Snapshot
}

func (f *fickle) Watch(context.Context, discovery.Query) (<-chan discovery.Snapshot, error) {
	return f.said, nil
}

// TestAPublisherThatDiscoveryLosesForAWhile checks that a subscription resumes at such a publisher
// where it was, and that a bookmark made meanwhile has the position.
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
		s := subscribe(t, client, placed, pubsub.Reliable)
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
		other := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.Reliable, pubsub.Resume(mark))
		want(t, within(other, time.Second), "4", "5")
	})
}

// TestAPublisherThatIsKilledIsToldOf expects a gap "gone" of a killed publisher, and none of a drained one.
func TestAPublisherThatIsKilledIsToldOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		killed, a := publisher(t, mesh, link.Config{})
		drained, b := publisher(t, mesh, link.Config{})
		s := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.Reliable)
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

// TestABadNetworkMakesNoDeadLetters loses the connection more often than a message may fail.
func TestABadNetworkMakesNoDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		node, p := publisher(t, mesh, link.Config{})
		client := mesh.Node(link.Config{})
		s := subscribe(t, client, placed, pubsub.AtLeastOnce)
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

// TestAPublisherMadeWhileItsNodeRuns subscribes before that, on another node and on the publisher's.
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

// spelled is a user-defined codec: CBOR with another name and ID.
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

// TestGapsAreToldOnce loses a connection when some gaps were read, some have arrived, and some
// are in flight. Bodies come whole or in parts. Of whole ones, six reads let gaps come, and the 22nd is a gap.
func TestGapsAreToldOnce(t *testing.T) {
	type backlog struct{ size, waiting, read int }
	var cases []backlog
	for _, read := range []int{0, 6, 21, 22, 24} {
		cases = append(cases, backlog{size: 50 << 10, waiting: 20, read: read})
	}
	for _, read := range []int{0, 3} {
		cases = append(cases, backlog{size: 700 << 10, waiting: 7, read: read})
	}
	run := 0
	for _, class := range []pubsub.Class{pubsub.BestEffort, pubsub.Reliable, pubsub.AtLeastOnce} {
		for _, away := range []time.Duration{40 * time.Second, 150 * time.Second} { // A session is kept for 60 s.
			for _, c := range cases {
				if run++; race.Enabled && run%5 != 1 {
					continue // the detector sees the same goroutines in all of them
				}
				t.Run(fmt.Sprint(class, ", ", c.size>>10, " KiB, ", away, ", ", c.read), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { gapsOnce(t, class, away, c.size, c.waiting, c.read) })
				})
			}
		}
	}
}

func gapsOnce(t *testing.T, class pubsub.Class, away time.Duration, size, waiting, read int) {
	t.Helper()
	mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
	node, p := publisher(t, mesh, link.Config{})
	client := mesh.Node(link.Config{})
	letters := subscribe(t, node, pubsub.DeadLetters(placed))
	s := subscribe(t, client, placed, class)
	f := fates{all: subscribe(t, node, placed), expires: make(map[uint64]bool), came: make(map[uint64]bool), told: make(map[uint64]int), dead: make(map[uint64]bool)}
	body := string(make([]byte, size))
	say := func(rounds int) {
		for range rounds {
			for _, ttl := range []time.Duration{0, time.Second, time.Second} {
				f.publish(t, p, body, ttl)
			}
			sleep(2 * time.Second)
		}
	}
	for range waiting { // These use up the credit, so that the others expire.
		f.publish(t, p, body, 0)
	}
	sleep(time.Second)
	say(3)
	for i := range read {
		f.enter(t, take(t, s, 1)[0])
		if i < read-1 { // What the last read lets come stays in flight.
			sleep(10 * time.Millisecond)
		}
	}
	mesh.Partition(node, client)
	say(1)
	sleep(away)
	mesh.Heal(node, client)
	sleep(time.Minute)
	say(1)
	quiet := time.AfterFunc(time.Minute, s.Close)
	defer quiet.Stop()
	for m := range s.Messages() {
		quiet.Reset(time.Minute)
		f.enter(t, m)
	}
	for range pubsub.StatsOf(node).Published.DeadLetters {
		m := take(t, letters, 1)[0]
		f.dead[m.DeadLetter().Seq] = true
	}
	f.check(t, class)
}

// fates records what became of each message, by its number. all is a subscription on the
// publisher's node, which yields the numbers, and gaps is the sum of the counts of gaps.
type fates struct {
	expires, came, dead map[uint64]bool
	told                map[uint64]int
	gaps                uint64
	all                 *pubsub.Subscription[order]
}

func (f *fates) publish(t *testing.T, p *pubsub.Publisher[order], body string, ttl time.Duration) {
	t.Helper()
	publishOne(t, p, order{ID: body, Cents: int64(len(f.expires) + 1)}, pubsub.TTL(ttl))
	f.expires[take(t, f.all, 1)[0].Seq] = ttl > 0
}

func (f *fates) enter(t *testing.T, m pubsub.Message[order]) {
	t.Helper()
	switch {
	case m.Gap == nil:
		f.came[m.Seq] = true
		if m.Value.Cents > 5 || m.Value.Cents%2 == 0 {
			m.Ack() // The others are requested again.
		}
	case m.Gap.Count == 0:
		t.Errorf("gap %+v", m.Gap)
	default:
		f.gaps += m.Gap.Count
		for seq := m.Gap.From; seq <= m.Gap.To; seq++ {
			f.told[seq]++
		}
	}
}

// check expects that each message came, was told in a gap, or, with acks, is a dead letter. One that
// came is not told, unless it had no ack when its session was lost. It may be a dead letter, because
// the ack of a message received before the connection was lost, and read after that, is late.
func (f *fates) check(t *testing.T, class pubsub.Class) {
	t.Helper()
	acks, told := class == pubsub.AtLeastOnce, uint64(0)
	for seq, expires := range f.expires {
		fate := fmt.Sprintf("message %d (expires: %v): came: %v, told %d times, dead letter: %v", seq, expires, f.came[seq], f.told[seq], f.dead[seq])
		switch {
		case !f.came[seq] && f.told[seq] == 0 && !f.dead[seq]:
			t.Error("nobody knows of", fate)
		case !expires && (f.told[seq] > 0 || f.dead[seq]):
			t.Error("given up:", fate)
		case f.told[seq] > 1, f.told[seq] > 0 && f.came[seq] && !acks, f.dead[seq] && !acks:
			t.Error("told more than once:", fate)
		}
		told += uint64(f.told[seq])
	}
	if told == 0 || told != f.gaps {
		t.Errorf("gaps count %d messages, and name %d", f.gaps, told)
	}
}

func publishOne(t *testing.T, p *pubsub.Publisher[order], o order, opts ...pubsub.PublishOption) {
	t.Helper()
	if _, err := p.Publish(t.Context(), o, opts...); err != nil {
		t.Fatal(err)
	}
}

// TestAPublisherWhosePortIsClosedIsGone crashes a publisher that the registry still shows.
func TestAPublisherWhosePortIsClosedIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		node, p := publisher(t, mesh, link.Config{})
		watch, err := mesh.Registry().Watch(t.Context(), discovery.Query{Service: "orders", Namespace: "default"})
		if err != nil {
			t.Fatal(err)
		}
		registry := &fickle{mesh.Registry(), make(chan discovery.Snapshot, 1)}
		registry.said <- <-watch
		s := subscribe(t, mesh.Node(link.Config{Registry: registry}), placed, pubsub.Reliable)
		publish(t, p, 1, 1)
		take(t, s, 1)
		sleep(time.Minute)
		mesh.Crash(node)
		killed := time.Now()
		defer time.AfterFunc(time.Minute, s.Close).Stop() // ends the test if no gap comes
		m := take(t, s, 1)[0]
		if m.Gap == nil || m.Gap.Reason != "gone" || m.Publisher != node.Instance() {
			t.Errorf("got %+v, %+v", m, m.Gap)
		}
		t.Logf("told %v after the end", time.Since(killed))
		want(t, within(s, 30*time.Second))
	})
}
