package pubsub_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
				node, p := publisher(t, mesh, link.Config{DrainTimeout: 8 * time.Second})
				var log logbook
				client := mesh.Node(link.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
				s := subscribe(t, client, placed, pubsub.In(class))
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
		node, p := publisher(t, mesh, link.Config{DrainTimeout: 8 * time.Second})
		watch, err := mesh.Registry().Watch(t.Context(), discovery.Query{Service: "orders", Namespace: "default"})
		if err != nil {
			t.Fatal(err)
		}
		registry := &fickle{mesh.Registry(), make(chan discovery.Snapshot, 1)}
		// The registry sends no other snapshot.
		registry.said <- <-watch
		client := mesh.Node(link.Config{Registry: registry})
		s := subscribe(t, client, placed, pubsub.In(pubsub.Reliable))
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

// TestFramesThatOutlastTheirStreamsAreBounded has instances of one publisher start one after the other,
// send all they have credit for behind a part for which there is no room, and end. It expects that no
// more of that is kept than one member may have, and that the other streams are told as gone at once.
func TestFramesThatOutlastTheirStreamsAreBounded(t *testing.T) { // SEC-409
	// Each stream has 1 MiB of credit.
	const instances, subscriptions, frame, each = 12, 8, 16 << 10, 63
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		client := mesh.Node(link.Config{})
		var all []*pubsub.Subscription[order]
		for range subscriptions {
			all = append(all, subscribe(t, client, placed))
		}
		free := sync.OnceFunc(func() {})
		for i := range instances {
			hostile := mesh.Node(link.Config{Service: "orders"})
			hostile.Handle(link.Route{Service: "orders", Name: "_link/subscribe", Kind: link.Topic}, func(_ context.Context, st *link.Stream) error {
				if _, err := st.Recv(); err != nil {
					return err
				}
				say(t, st, frameSubscribed, fields{1: 7, 2: 1})
				if err := st.Send(link.Frame{Kind: framePart, Credited: true, Body: make([]byte, 1<<10)}); err != nil {
					return err
				}
				for range each {
					if err := st.Send(link.Frame{Kind: frameRecords, Credited: true, Body: make([]byte, frame)}); err != nil {
						return err
					}
				}
				// If the stream ended earlier, the subscriber would join again.
				<-st.Draining()
				return nil
			})
			if i == 0 {
				free = fillParts(client, hostile)
			}
			mesh.Start(hostile)
			sleep(5 * time.Second)
			mesh.Stop(hostile)
		}
		defer free()
		var told atomic.Int64
		var running sync.WaitGroup
		for _, s := range all {
			running.Go(func() {
				for _, reason := range within(s, time.Minute) {
					if told.Add(1); reason != "gone" {
						t.Errorf("%s came, want gaps", reason)
					}
				}
			})
		}
		running.Wait()
		const streams, most = instances * subscriptions, 32
		t.Logf("of %d streams that have ended %d wait for room", streams, streams-told.Load())
		if waits := streams - told.Load(); waits > most || waits < most/2 {
			t.Errorf("%d MiB of streams that have ended are here, want at most %d, and not much less", waits, most)
		}
	})
}

// TestFramesThatNobodyReadsAreBounded has instances of one publisher start one after the other, send all they have
// credit for to subscriptions that read nothing, and end. It expects that no more of that is kept than one member
// may have, and that the other streams are told as gone.
func TestFramesThatNobodyReadsAreBounded(t *testing.T) { // SEC-409
	// Each stream has 1 MiB of credit.
	const instances, subscriptions, each, size = 12, 8, 63, 16_000
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		client := mesh.Node(link.Config{})
		var all []*pubsub.Subscription[order]
		for range subscriptions {
			all = append(all, subscribe(t, client, placed))
		}
		for range instances {
			hostile := mesh.Node(link.Config{Service: "orders"})
			hostile.Handle(link.Route{Service: "orders", Name: "_link/subscribe", Kind: link.Topic}, func(_ context.Context, st *link.Stream) error {
				if _, err := st.Recv(); err != nil {
					return err
				}
				say(t, st, frameSubscribed, fields{1: 7, 2: 1})
				body := record(1, append([]byte{0}, "placed"...)...)
				for seq := range byte(each) {
					const head = 4 + 7
					body = append(body, 2, 0x40|(head+size)>>8, (head+size)&0xff, 0, seq+1, 0, 1, 0xa1, 0x62, 'I', 'D', 0x79, size>>8, size&0xff)
					body = append(body, bytes.Repeat([]byte{'x'}, size)...)
					if err := st.Send(link.Frame{Kind: frameRecords, Credited: true, Body: body}); err != nil {
						return err
					}
					body = nil
				}
				// If the stream ended earlier, the subscriber would join again.
				<-st.Draining()
				return nil
			})
			mesh.Start(hostile)
			sleep(5 * time.Second)
			mesh.Stop(hostile)
		}
		var told, came atomic.Int64
		var running sync.WaitGroup
		for _, s := range all {
			running.Go(func() {
				for _, what := range within(s, time.Minute) {
					switch {
					case what == "gone":
						told.Add(1)
					case len(what) == size:
						came.Add(1)
					default:
						t.Errorf("%.20q came, want gaps and messages", what)
					}
				}
			})
		}
		running.Wait()
		// Each inbox has one stream in addition to the 32 MiB.
		const streams, most = instances * subscriptions, 32 + subscriptions
		t.Logf("%d messages came of %d streams that have ended, and %d of these were told as gone", came.Load(), streams, told.Load())
		if came.Load() > most*each+subscriptions || came.Load() < most*each/2 {
			t.Errorf("%d MiB of streams that have ended were here, want at most %d, and not much less", came.Load()/each, most)
		}
		if whole := came.Load() / each; told.Load() < streams-whole-subscriptions {
			t.Errorf("%d streams were told as gone, though only %d of %d were heard", told.Load(), whole, streams)
		}
	})
}

// TestAnyOneGoesOnWhileThePartsOfAnEndedPublisherHaveNoRoom checks that the next publisher of the feed is
// joined at once, and sends what was not read from the one before.
func TestAnyOneGoesOnWhileThePartsOfAnEndedPublisherHaveNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		nodes := make(map[string]*link.Node)
		publishers := make(map[string]*pubsub.Publisher[order])
		for range 2 {
			n, p := publisher(t, mesh, link.Config{DrainTimeout: 8 * time.Second})
			nodes[n.Instance()], publishers[n.Instance()] = n, p
		}
		client := mesh.Node(link.Config{})
		s := subscribe(t, client, placed, pubsub.AnyOne(), pubsub.In(pubsub.Reliable))
		for _, p := range publishers {
			publish(t, p, 1, 1, pubsub.Feed(1))
		}
		first := take(t, s, 1)[0].Publisher
		free := fillParts(client, nodes[first])
		defer free()
		for id, p := range publishers {
			if id != first {
				publish(t, p, 2, 2, pubsub.Feed(2))
			} else if _, err := p.Publish(t.Context(), order{ID: strings.Repeat("2", 300<<10)}, pubsub.Feed(2)); err != nil {
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
				node, p := publisher(t, mesh, link.Config{DrainTimeout: 8 * time.Second})
				client := mesh.Node(link.Config{})
				s := subscribe(t, client, placed, pubsub.AnyOne(), pubsub.In(pubsub.Reliable))
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
		node, p := publisher(t, mesh, link.Config{DrainTimeout: 8 * time.Second})
		client := mesh.Node(link.Config{})
		s := subscribe(t, client, placed, pubsub.AnyOne(), pubsub.In(pubsub.Reliable))
		publish(t, p, 1, 1, pubsub.Feed(1))
		take(t, s, 1)
		free := fillParts(client, node)
		defer free()
		publishParts(t, p)
		mesh.Stop(node)
		sleep(10 * time.Second)
		_, next := publisher(t, mesh, link.Config{})
		publish(t, next, 2, 2, pubsub.Feed(2))
		want(t, within(s, time.Minute), "2")
	})
}
