package pubsub_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/internal/lane"
	"github.com/linkmesh/link/protocol/pubsub"
)

// TestAPublisherThatSendsPartsWithoutAnEnd to many subscriptions of a node fills no more of its
// memory than one member may, and another publisher's longest messages arrive.
func TestAPublisherThatSendsPartsWithoutAnEnd(t *testing.T) { // SEC-392
	const subscriptions, each = 40, 4 << 20 // of which each stream may have one
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		honest := mesh.Node(link.Config{Service: "bills"})
		bills := pubsub.NewTopic[order]("bills", "placed")
		p, err := pubsub.NewPublisher(honest, bills)
		if err != nil {
			t.Fatal(err)
		}
		mesh.Start(honest)
		hostile := mesh.Node(link.Config{Service: "orders"})
		var here, told atomic.Int64
		hostile.Handle(link.Route{Service: "orders", Name: "_link/subscribe", Kind: link.Topic}, func(ctx context.Context, st *link.Stream) error {
			if _, err := st.Recv(); err != nil {
				return err
			}
			say(t, st, frameSubscribed, fields{1: 7, 2: 1})
			part := link.Frame{Kind: framePart, Credited: true, Body: make([]byte, 4<<10)}
			sent := 0
			defer func() { here.Add(-int64(sent)) }()
			go func() {
				for f, err := st.Recv(); err == nil; f, err = st.Recv() {
					if f.Kind == frameVerdict {
						told.Add(1)
					}
				}
			}()
			for ; sent < each; sent += len(part.Body) {
				if err := st.Send(part); err != nil {
					return err
				}
				here.Add(int64(len(part.Body)))
			}
			<-ctx.Done()
			return nil
		})
		mesh.Start(hostile)
		node := mesh.Node(link.Config{})
		var all []*pubsub.Subscription[order] // more than may have parts here at a time
		for range subscriptions {
			subscribe(t, node, placed)
			all = append(all, subscribe(t, node, bills))
		}
		sleep(10 * time.Second)
		if most := int64(lane.MaxParts/2 + 16<<20); here.Load() > most || here.Load() < most/2 { // and what 40 streams have credit for
			t.Errorf("%d MiB of parts are here, want at most %d, and not much less", here.Load()>>20, most>>20)
		}
		if told.Load() == 0 {
			t.Error("no stream was told that the subscriber is not stuck while its parts have no room")
		}
		long := strings.Repeat("x", each-1024)
		if _, err := p.Publish(t.Context(), order{ID: long}); err != nil {
			t.Fatal(err)
		}
		for _, s := range all {
			if m := take(t, s, 1)[0]; m.Value.ID != long {
				t.Fatalf("a message of %d bytes, want %d; gap %+v", len(m.Value.ID), len(long), m.Gap)
			}
		}
	})
}

// TestPartsThatWaitForRoomOutlastTheirPublisher: a message in parts that came when the subscriber
// had no room for parts is delivered when there is room, with what came behind it, although the
// publisher has said all, and is gone.
func TestPartsThatWaitForRoomOutlastTheirPublisher(t *testing.T) {
	for _, class := range []pubsub.Class{pubsub.BestEffort, pubsub.Latest, pubsub.Reliable, pubsub.AtLeastOnce} {
		t.Run(class.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
				node, p := publisher(t, mesh, link.Config{DrainTimeout: 8 * time.Second})
				client := mesh.Node(link.Config{})
				s := subscribe(t, client, placed, pubsub.In(class))
				free := fillParts(client, node)
				defer free()
				ids := publishParts(t, p)
				mesh.Stop(node)
				sleep(2 * time.Minute)
				free()
				got := within(s, time.Minute)
				if !slices.Equal(got, ids) {
					t.Errorf("%.20q came, want the long message and the short one", got)
				}
			})
		})
	}
}

// fillParts leaves no room for parts of a publisher at a node until free is called.
func fillParts(node, publisher *link.Node) (free func()) {
	room := lane.PartsOf(node).Of(link.Peer{Identity: publisher.Identity()})
	const step = 1 << 20
	var taken int64
	for ; room.Take(step) == nil; taken += step { //nolint:revive // it takes all there is
	}
	return sync.OnceFunc(func() {
		room.Give(taken)
		room.Release()
	})
}

// publishParts publishes a message that goes in parts and one that does not, and returns both.
func publishParts(t *testing.T, p *pubsub.Publisher[order]) (ids []string) {
	t.Helper()
	ids = []string{strings.Repeat("x", 300<<10), "short"}
	for _, id := range ids {
		if _, err := p.Publish(t.Context(), order{ID: id}, pubsub.Key(id[:1])); err != nil {
			t.Fatal(err)
		}
	}
	return ids
}

// TestPartsThatWaitForRoomComeAgain once, if their connection is lost meanwhile; and a subscription
// that is closed does not wait for them.
func TestPartsThatWaitForRoomComeAgain(t *testing.T) {
	for _, class := range []pubsub.Class{pubsub.BestEffort, pubsub.Latest, pubsub.Reliable, pubsub.AtLeastOnce} {
		t.Run(class.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
				node, p := publisher(t, mesh, link.Config{})
				client := mesh.Node(link.Config{})
				s, closed := subscribe(t, client, placed, pubsub.In(class)), subscribe(t, client, placed, pubsub.In(class))
				free := fillParts(client, node)
				defer free()
				ids := publishParts(t, p)
				sleep(time.Second)
				closed.Close()
				mesh.Partition(node, client)
				sleep(30 * time.Second)
				mesh.Heal(node, client)
				sleep(30 * time.Second)
				free()
				if got := within(s, time.Minute); !slices.Equal(got, ids) {
					t.Errorf("%.20q came, want the long message and the short one", got)
				}
			})
		})
	}
}
