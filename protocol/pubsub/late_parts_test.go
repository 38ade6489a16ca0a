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

// TestPartsThatNeverFindRoomAreToldInTheEnd: a publisher that has said all and is gone is told of as
// gone, once, when there was no room for its last messages for as long as they wait; and the log
// says so once.
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

// TestPartsThatNeverFindRoomAreToldWhateverDiscoveryShows: a list of publishers that never changes shows one
// that has ended for good.
func TestPartsThatNeverFindRoomAreToldWhateverDiscoveryShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		node, p := publisher(t, mesh, link.Config{DrainTimeout: 8 * time.Second})
		watch, err := mesh.Registry().Watch(t.Context(), discovery.Query{Service: "orders", Namespace: "default"})
		if err != nil {
			t.Fatal(err)
		}
		registry := &fickle{mesh.Registry(), make(chan discovery.Snapshot, 1)}
		registry.said <- <-watch // and nothing more
		client := mesh.Node(link.Config{Registry: registry})
		s := subscribe(t, client, placed, pubsub.In(pubsub.Reliable))
		free := fillParts(client, node)
		defer free()
		publishParts(t, p)
		sleep(time.Second)
		mesh.Stop(node)
		mesh.Partition(client, node) // or its host would say that it is gone
		want(t, within(s, 20*time.Minute), "gone")
	})
}

// logbook is where a node logs.
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

// TestFramesThatOutlastTheirStreamsAreBounded: instances of one publisher that come, send what they
// have credit for behind a part for which there is no room, and end, one after the other, leave no
// more of that here than one member may; of the others the subscriptions are told at once.
func TestFramesThatOutlastTheirStreamsAreBounded(t *testing.T) { // SEC-409
	const instances, subscriptions, frame, each = 12, 8, 16 << 10, 63 // each stream: 1 MiB of credit
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
				<-st.Draining() // it says all of it once
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

// TestFramesThatNobodyReadsAreBounded when their streams have ended: instances of one publisher that come, send
// what they have credit for to those who read nothing, and end, one after the other, leave no more of that here
// than one member may; of the others the subscriptions are told.
func TestFramesThatNobodyReadsAreBounded(t *testing.T) { // SEC-409
	const instances, subscriptions, each, size = 12, 8, 63, 16_000 // each stream: 1 MiB of credit
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
				<-st.Draining() // it says all of it once
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
		const streams, most = instances * subscriptions, 32 + subscriptions // the inboxes have one each
		t.Logf("%d messages came of %d streams that have ended, and %d of these were told as gone", came.Load(), streams, told.Load())
		if came.Load() > most*each+subscriptions || came.Load() < most*each/2 {
			t.Errorf("%d MiB of streams that have ended were here, want at most %d, and not much less", came.Load()/each, most)
		}
		if whole := came.Load() / each; told.Load() < streams-whole-subscriptions {
			t.Errorf("%d streams were told as gone, though only %d of %d were heard", told.Load(), whole, streams)
		}
	})
}

// TestAnyOneGoesOnWhileThePartsOfAnEndedPublisherHaveNoRoom: the next publisher of the feed has its
// turn at once, and sends what was not read of the one before.
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

// TestAnyOneWaitsForRoomWhereNobodyElsePublishes: what has arrived of the only publisher, which has ended, is
// delivered when there is room, and told as gone if there never is.
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

// TestAnyOneWaitsNoLongerThanNobodyElsePublishes: the next publisher that comes has its turn.
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
