package pubsub_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/internal/flow"
	"github.com/linkmesh/link/protocol/pubsub"
)

// TestPartsThatWaitForRoomOutlastTheirPublisher checks that a message in parts for which a subscriber
// had no room is delivered when there is room, with the message behind it, although the publisher has
// drained and is gone.
func TestPartsThatWaitForRoomOutlastTheirPublisher(t *testing.T) {
	for _, class := range []pubsub.Class{pubsub.BestEffort, pubsub.Latest, pubsub.Reliable, pubsub.AtLeastOnce} {
		t.Run(class.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
				node, p := publisher(t, mesh, link.Config{Limits: link.Limits{DrainTimeout: 8 * time.Second}})
				client := mesh.Node(link.Config{})
				s := subscribe(t, client, placed, class)
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

// fillParts takes all the room for parts of a publisher at a node, until free is called.
func fillParts(node, publisher *link.Node) (free func()) {
	room := flow.PartsOf(node).Of(link.Peer{Identity: publisher.Identity()})
	const step = 1 << 20
	var taken int64
	for ; room.Take(step) == nil; taken += step { //nolint:revive // it takes all there is
	}
	return sync.OnceFunc(func() {
		room.Give(taken)
		room.Release()
	})
}

// publishParts publishes a message that goes in parts and one that does not, and returns their IDs.
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

// TestPartsThatWaitForRoomComeAgain checks that messages that wait for room arrive once if their
// connection is lost meanwhile, and that closing a subscription does not wait for them.
func TestPartsThatWaitForRoomComeAgain(t *testing.T) {
	for _, class := range []pubsub.Class{pubsub.BestEffort, pubsub.Latest, pubsub.Reliable, pubsub.AtLeastOnce} {
		t.Run(class.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
				node, p := publisher(t, mesh, link.Config{})
				client := mesh.Node(link.Config{})
				s, closed := subscribe(t, client, placed, class), subscribe(t, client, placed, class)
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
