package pubsub_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// TestPartsThatNeverFindRoomAreToldInTheEnd drains a publisher for whose last messages there is no
// room. It expects one gap "gone" when these have waited for as long as they may, and one log message.
func TestPartsThatNeverFindRoomAreToldInTheEnd(t *testing.T) {
	for _, class := range []pubsub.Class{pubsub.BestEffort, pubsub.Latest, pubsub.Reliable, pubsub.AtLeastOnce} {
		t.Run(class.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
				node, p := publisher(t, mesh, link.Config{Limits: link.Limits{DrainTimeout: 8 * time.Second}})
				var log logbook
				client := mesh.Node(link.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
				s := subscribe(t, client, placed, class)
				free := fillParts(client, node)
				defer free()
				publishParts(t, p)
				mesh.Stop(node)
				want(t, within(s, 20*time.Minute), "gone")
				if n := log.count("no room for the last that it sent"); n != 1 {
					t.Errorf("the log says %d times that the last messages had no room, want once", n)
				}
			})
		})
	}
}

// TestPartsThatNeverFindRoomAreToldWhateverDiscoveryShows expects the gap "gone" although the registry never
// changes its list of publishers, and so still shows the one that has ended.
func TestPartsThatNeverFindRoomAreToldWhateverDiscoveryShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		node, p := publisher(t, mesh, link.Config{Limits: link.Limits{DrainTimeout: 8 * time.Second}})
		watch, err := mesh.Registry().Watch(t.Context(), discovery.Query{Service: "orders", Namespace: "default"})
		if err != nil {
			t.Fatal(err)
		}
		registry := &fickle{mesh.Registry(), make(chan discovery.Snapshot, 1)}
		// The registry sends no other snapshot.
		registry.said <- <-watch
		client := mesh.Node(link.Config{Registry: registry})
		s := subscribe(t, client, placed, pubsub.Reliable)
		free := fillParts(client, node)
		defer free()
		publishParts(t, p)
		sleep(time.Second)
		mesh.Stop(node)
		// Without the partition, the publisher's host would report that it is gone.
		mesh.Partition(client, node)
		want(t, within(s, 20*time.Minute), "gone")
	})
}

// logbook collects the log of a node. It is safe for concurrent use.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *logbook) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *logbook) count(words string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), words)
}

// TestAnyOneGoesOnWhileThePartsOfAnEndedPublisherHaveNoRoom checks that the next publisher of the feed is
// joined at once, and sends what was not read from the one before.
func TestAnyOneGoesOnWhileThePartsOfAnEndedPublisherHaveNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		nodes := make(map[string]*link.Node)
		publishers := make(map[string]*pubsub.Publisher[order])
		for range 2 {
			n, p := publisher(t, mesh, link.Config{Limits: link.Limits{DrainTimeout: 8 * time.Second}})
			nodes[n.Instance()], publishers[n.Instance()] = n, p
		}
		client := mesh.Node(link.Config{})
		s := subscribe(t, client, placed, pubsub.OneOf(), pubsub.Reliable)
		for _, p := range publishers {
			publish(t, p, 1, 1, pubsub.FeedSeq(1))
		}
		first := take(t, s, 1)[0].Publisher
		free := fillParts(client, nodes[first])
		defer free()
		for id, p := range publishers {
			if id != first {
				publish(t, p, 2, 2, pubsub.FeedSeq(2))
			} else if _, err := p.Publish(t.Context(), order{ID: strings.Repeat("2", 300<<10)}, pubsub.FeedSeq(2)); err != nil {
				t.Fatal(err)
			}
		}
		sleep(time.Second)
		mesh.Stop(nodes[first])
		if got := within(s, time.Minute); !slices.Equal(got, []string{"2"}) {
			t.Errorf("%s came of the next publisher, want its message", fmt.Sprintf("%.20q", got))
		}
	})
}

// TestAnyOneWaitsForRoomWhereNobodyElsePublishes checks that messages that have arrived from the only publisher,
// which has ended, are delivered when there is room, and told as gone if there never is.
func TestAnyOneWaitsForRoomWhereNobodyElsePublishes(t *testing.T) {
	for name, late := range map[string]bool{"in time": false, "never": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
				node, p := publisher(t, mesh, link.Config{Limits: link.Limits{DrainTimeout: 8 * time.Second}})
				client := mesh.Node(link.Config{})
				s := subscribe(t, client, placed, pubsub.OneOf(), pubsub.Reliable)
				free := fillParts(client, node)
				defer free()
				ids := publishParts(t, p)
				mesh.Stop(node)
				sleep(10 * time.Second)
				if late {
					want(t, within(s, 20*time.Minute), "gone")
					return
				}
				free()
				if got := within(s, time.Minute); !slices.Equal(got, ids) {
					t.Errorf("%.20q came, want the long message and the short one", got)
				}
			})
		})
	}
}

// TestAnyOneWaitsNoLongerThanNobodyElsePublishes checks that a new publisher is joined although messages
// of the one that has ended still wait for room.
func TestAnyOneWaitsNoLongerThanNobodyElsePublishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		node, p := publisher(t, mesh, link.Config{Limits: link.Limits{DrainTimeout: 8 * time.Second}})
		client := mesh.Node(link.Config{})
		s := subscribe(t, client, placed, pubsub.OneOf(), pubsub.Reliable)
		publish(t, p, 1, 1, pubsub.FeedSeq(1))
		take(t, s, 1)
		free := fillParts(client, node)
		defer free()
		publishParts(t, p)
		mesh.Stop(node)
		sleep(10 * time.Second)
		_, next := publisher(t, mesh, link.Config{})
		publish(t, next, 2, 2, pubsub.FeedSeq(2))
		want(t, within(s, time.Minute), "2")
	})
}
