//go:build !race

package pubsub_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/internal/flow"
	"github.com/linkmesh/link/protocol/pubsub"
)

// The tests of this file do not run under the race detector. They move hundreds of MiB, or
// many small messages in one goroutine, which would be ten times as much work, and the
// detector sees all goroutines of these tests in other tests.

// TestAPublisherThatSendsPartsWithoutAnEnd has a publisher send parts, but no end of the message, to many
// subscriptions of a node. It expects that they fill no more memory of the node than one member may, and that the longest
// messages of another publisher arrive.
func TestAPublisherThatSendsPartsWithoutAnEnd(t *testing.T) { // SEC-392
	// Each stream may have 4 MiB of parts.
	const subscriptions, each = 40, 4 << 20
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
		link.HostOf(hostile).Handle(link.Route{Service: "orders", Name: "_link/subscribe", Kind: link.KindTopic}, func(ctx context.Context, st *link.Stream) error {
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
		// These are more subscriptions than may have parts here at a time.
		var all []*pubsub.Subscription[order]
		for range subscriptions {
			subscribe(t, node, placed)
			all = append(all, subscribe(t, node, bills))
		}
		sleep(10 * time.Second)
		// The 16 MiB are for what 40 streams have credit for.
		if most := int64(flow.MaxParts/2 + 16<<20); here.Load() > most || here.Load() < most/2 {
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

// TestALongMessageLeavesNoBuffers checks that streams keep no buffers for a long message that they
// have sent.
func TestALongMessageLeavesNoBuffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Without a delay, QUIC would measure its own acknowledgments.
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		_, p := publisher(t, mesh, link.Config{})
		client := mesh.Node(link.Config{})
		// These are three times as many as the bound below leaves room for.
		const subscriptions = 12
		for range subscriptions {
			s, err := pubsub.SubscribeFunc(t.Context(), client, placed, func(context.Context, pubsub.Message[order]) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
		}
		sleep(time.Second)
		before := heap()
		const size = 4<<20 - 100
		if _, err := p.Publish(t.Context(), order{ID: string(make([]byte, size))}); err != nil {
			t.Fatal(err)
		}
		sleep(time.Second)
		publish(t, p, 1, 10)
		sleep(time.Second)
		if grown := heap() - before; grown > 4*size {
			t.Errorf("%d MiB are kept after one message of 4 MiB to %d subscriptions", grown>>20, subscriptions)
		}
	})
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
			link.HostOf(hostile).Handle(link.Route{Service: "orders", Name: "_link/subscribe", Kind: link.KindTopic}, func(_ context.Context, st *link.Stream) error {
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
			link.HostOf(hostile).Handle(link.Route{Service: "orders", Name: "_link/subscribe", Kind: link.KindTopic}, func(_ context.Context, st *link.Stream) error {
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

// TestLongMessagesThatNobodyReadAreFew checks that a subscription buffers only a few long
// messages that nobody reads, although the credit for their parts is given back at once.
func TestLongMessagesThatNobodyReadAreFew(t *testing.T) {
	for name, local := range map[string]bool{"of another node": false, "of the same node": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				node, p := publisher(t, mesh, link.Config{})
				client := node
				if !local {
					client = mesh.Node(link.Config{})
				}
				s := subscribe(t, client, placed, pubsub.Reliable)
				before := heap()
				n, size := race.Fewer(40, 20), 4<<20-100
				for range n {
					if _, err := p.Publish(t.Context(), order{ID: string(make([]byte, size))}); err != nil {
						t.Fatal(err)
					}
					sleep(100 * time.Millisecond)
				}
				// The log keeps 64 MiB, and 40 MiB are for messages in flight.
				if grown := heap() - before; grown > 64<<20+40<<20 {
					t.Errorf("%d MiB are kept", grown>>20)
				}
				if m := take(t, s, 1)[0]; m.Gap != nil || len(m.Value.ID) != size || m.Seq != 1 {
					t.Errorf("message %d: %d bytes, %+v", m.Seq, len(m.Value.ID), m.Gap)
				}
			})
		})
	}
}
