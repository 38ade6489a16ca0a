package pubsub_test

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

func TestStatsSayWhoIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, p := publisher(t, mesh, link.Config{})
		reader, idler := mesh.Node(link.Config{Service: "reader"}), mesh.Node(link.Config{Service: "idler"})
		good := subscribe(t, reader, placed, pubsub.Reliable)
		subscribe(t, idler, placed, pubsub.Reliable) // never read
		const n = 50_000
		publish(t, p, 1, n)
		take(t, good, n)
		sleep(5 * time.Second)

		stats, err := pubsub.QueryStats(t.Context(), reader, "orders")
		if err != nil {
			t.Fatal(err)
		}
		if stats.Published.Next != n+1 || stats.Published.First != 1 || stats.Published.Bytes == 0 || len(stats.Readers) != 2 {
			t.Fatalf("stats %+v", stats)
		}
		// The reader that is furthest behind comes first.
		slow, fast := stats.Readers[0], stats.Readers[1]
		if slow.Service != "idler" || slow.Lag.Messages == 0 || slow.Lag.Bytes == 0 || slow.Lag.Age < 5*time.Second || slow.StuckFor < 4*time.Second || slow.Gaps != nil {
			t.Errorf("the slow one is %+v", slow)
		}
		if fast.Service != "reader" || fast.Lag.Messages != 0 || fast.Messages != n || fast.Class != "reliable" || fast.Patterns[0] != "placed" {
			t.Errorf("the fast one is %+v", fast)
		}
		mine := pubsub.StatsOf(reader)
		if len(mine.Subscriptions) != 1 || mine.Subscriptions[0].Publishers[0].Messages != n || !mine.Subscriptions[0].Publishers[0].Connected {
			t.Errorf("the reader's own are %+v", mine)
		}
		good.Close()
		if mine := pubsub.StatsOf(reader); len(mine.Subscriptions) != 0 {
			t.Errorf("a closed subscription is still there: %+v", mine)
		}
		sleep(time.Minute)
		if stats, err = pubsub.QueryStats(t.Context(), reader, "orders"); err != nil || stats.Published.Stuck == 0 {
			t.Errorf("nobody was found stuck: %+v, %v", stats, err)
		}
	})
}

func TestWhoMayInspect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, _ := publisher(t, mesh, link.Config{})
		pubsub.Authorize(node, func(a pubsub.Access) error {
			if a.Verb == pubsub.CanInspect && a.Peer.Service() != "operator" {
				return errors.New("operators only")
			}
			return nil
		})
		if _, err := pubsub.QueryStats(t.Context(), mesh.Node(link.Config{Service: "mallory"}), "orders"); !errors.Is(err, link.PermissionDenied) {
			t.Errorf("somebody: %v", err)
		}
		if _, err := pubsub.QueryStats(t.Context(), mesh.Node(link.Config{Service: "operator"}), "orders"); err != nil {
			t.Errorf("an operator: %v", err)
		}
	})
}

func TestWhoseMessagesAreTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, good := sharer(t, mesh, "web")
		_, bad := sharer(t, mesh, "mallory")
		client := mesh.Node(link.Config{})
		pubsub.Authorize(client, func(a pubsub.Access) error {
			if a.Verb == pubsub.CanWrite && (!a.Shared || a.Peer.Service() != "web" || !pubsub.Covers("audit.*", a.Topic)) {
				return errors.New("only the web")
			}
			return nil
		})
		s := subscribe(t, client, logins)
		publish(t, bad, 1, 1)
		publish(t, good, 2, 2)
		for _, m := range take(t, s, 2) {
			switch {
			case m.Peer().Service() == "web" && m.Gap == nil && m.Value.ID == "2":
			case m.Peer().Service() == "mallory" && m.Gap != nil && m.Gap.Reason == "refused" && m.Gap.Count == 1 && m.Value.ID == "":
			default:
				t.Errorf("got %+v with gap %+v", m, m.Gap)
			}
		}
	})
}

// TestAPublisherCannotPassForAnother has a publisher whose messages are allowed on one topic send
// these to a subscription to another topic, and expects that they are not delivered there.
func TestAPublisherCannotPassForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		mallory := mesh.Node(link.Config{Service: "mallory"})
		link.HostOf(mallory).Handle(link.Route{Service: "mallory", Name: "_link/subscribe", Kind: link.KindTopic}, func(ctx context.Context, st *link.Stream) error {
			if _, err := st.Recv(); err != nil {
				return err
			}
			say(t, st, frameSubscribed, fields{1: 7, 2: 1})
			const path = "_link.shared.gossip"
			records := append([]byte{1, byte(1 + len(path)), 0}, path...)
			records = append(records, 2, 5, 0, 1, 0, 1, 0xa0)
			if err := st.Send(link.Frame{Kind: frameRecords, Credited: true, Body: records}); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		})
		if err := link.HostOf(mallory).AddTag("topic:audit"); err != nil {
			t.Fatal(err)
		}
		mesh.Start(mallory)
		client := mesh.Node(link.Config{})
		pubsub.Authorize(client, func(a pubsub.Access) error {
			if a.Peer.Service() == "mallory" && a.Topic != "gossip" {
				return errors.New("only gossip")
			}
			return nil
		})
		want(t, within(subscribe(t, client, logins), time.Minute))
		gossip := pubsub.NewSharedTopic[order]("gossip")
		if err := link.HostOf(mallory).AddTag("topic:gossip"); err != nil {
			t.Fatal(err)
		}
		want(t, within(subscribe(t, client, gossip), time.Minute), "")
	})
}

// TestWhoMayJoinAGroup checks that a rule can keep a service out of the group of another one.
func TestWhoMayJoinAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, _ := publisher(t, mesh, link.Config{})
		pubsub.Authorize(node, func(a pubsub.Access) error {
			if a.Group != "" && a.Group != a.Peer.Service() {
				return errors.New("the group is another's")
			}
			return nil
		})
		mailer, spy := mesh.Node(link.Config{Service: "mailer"}), mesh.Node(link.Config{Service: "spy"})
		subscribe(t, mailer, placed, pubsub.Group("mailer"))
		subscribe(t, spy, placed)
		if _, err := pubsub.Subscribe(t.Context(), spy, placed, pubsub.Group("mailer")); !errors.Is(err, link.PermissionDenied) {
			t.Errorf("got %v", err)
		}
	})
}

// TestAnIdleSubscriptionIsQuiet counts the frames of a publisher without messages in a minute.
func TestAnIdleSubscriptionIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		publisher(t, mesh, link.Config{})
		st := raw(t, mesh.Node(link.Config{}))
		say(t, st, frameSubscribe, fields{1: []string{"placed"}})
		var n atomic.Int64
		go func() {
			for {
				if _, err := st.Recv(); err != nil {
					return
				}
				n.Add(1)
			}
		}()
		sleep(time.Minute)
		if n.Load() < 3 || n.Load() > 10 {
			t.Errorf("%d frames in an idle minute", n.Load())
		}
	})
}

// TestASessionIsOfWhatWasAskedFor has a peer that may no longer read a topic use the session from
// when it was allowed, and expects that it gets no messages of the topic.
func TestASessionIsOfWhatWasAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, p := publisher(t, mesh, link.Config{})
		client := mesh.Node(link.Config{Service: "spy"})
		begin := func(pattern string) (*link.Stream, error) {
			st := raw(t, client)
			say(t, st, frameSubscribe, fields{1: []string{pattern}, 3: 3, 10: "session"})
			_, err := st.Recv()
			return st, err
		}
		st, err := begin("placed")
		if err != nil {
			t.Fatal(err)
		}
		st.Close()
		pubsub.Authorize(node, func(a pubsub.Access) error {
			if a.Topic == "placed" {
				return errors.New("not any more")
			}
			return nil
		})
		if _, err := begin("placed"); !errors.Is(err, link.PermissionDenied) {
			t.Errorf("got %v", err)
		}
		if st, err = begin("other"); err != nil {
			t.Fatal(err)
		}
		publish(t, p, 1, 1)
		sleep(2 * time.Second)
		st.Close()
		for {
			f, err := st.Recv()
			if err != nil {
				break
			}
			if bytes.Contains(f.Body, []byte("placed")) {
				t.Errorf("the peer reads %q", f.Body)
			}
		}
	})
}

// TestASubscriptionThatNobodyAllowsAnyMoreEnds changes the rules during a subscription, and expects
// that it ends with PermissionDenied when it joins again.
func TestASubscriptionThatNobodyAllowsAnyMoreEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		node, p := publisher(t, mesh, link.Config{})
		client := mesh.Node(link.Config{})
		s := subscribe(t, client, placed)
		publish(t, p, 1, 1)
		take(t, s, 1)
		pubsub.Authorize(node, func(pubsub.Access) error { return errors.New("not any more") })
		mesh.Partition(node, client)
		sleep(time.Minute)
		mesh.Heal(node, client)
		for m := range s.Messages() {
			t.Errorf("got %+v", m)
		}
		if err := s.Err(); !errors.Is(err, link.PermissionDenied) {
			t.Errorf("it ended with %v", err)
		}
	})
}

// TestRealmsCannotBeReachedAround subscribes to link's own names in ways that a rule for users'
// topics would not see, and expects that this is refused.
func TestRealmsCannotBeReachedAround(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		publisher(t, mesh, link.Config{})
		client := mesh.Node(link.Config{})
		for _, name := range []string{"_link.>", "_link.*.own.placed", "_link.dead.>", "_link.dead.own.placed", "_link.broadcast.x"} {
			if _, err := pubsub.Subscribe(t.Context(), client, pubsub.NewTopic[order]("orders", name)); !errors.Is(err, link.InvalidArgument) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// TestStatsSayWhatBacklogsTake checks the backlog in Stats of a subscription that reads nothing.
func TestStatsSayWhatBacklogsTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, p := publisher(t, mesh, link.Config{})
		s := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.Buffer(1<<20, 64<<20, time.Hour))
		publish(t, p, 1, 100_000)
		if st := pubsub.StatsOf(node).Published; st.Backlog < 100_000 || st.Crowded != 0 {
			t.Errorf("%d bytes for a backlog of about 100,000 messages, refused %d times", st.Backlog, st.Crowded)
		}
		s.Close()
		sleep(time.Second)
		if st := pubsub.StatsOf(node).Published; st.Backlog != 0 {
			t.Errorf("%d bytes for the backlogs of nobody", st.Backlog)
		}
	})
}

func TestStatsSayWhatWaitsForAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, p := publisher(t, mesh, link.Config{})
		s := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.AtLeastOnce)
		publish(t, p, 1, 3)
		got := take(t, s, 3)
		if st := pubsub.StatsOf(node).Published; st.Unacked == 0 || st.Throttled != 0 {
			t.Errorf("%+v", st)
		}
		got[2].AckThrough()
		sleep(time.Second)
		if st := pubsub.StatsOf(node).Published; st.Unacked != 0 {
			t.Errorf("%d bytes wait when all is acked", st.Unacked)
		}
	})
}
