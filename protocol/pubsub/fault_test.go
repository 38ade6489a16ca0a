package pubsub_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

var ping = link.Route{Service: "orders", Name: "ping", Level: link.ReadOnly}

// TestThoseThatNeverReadDelayNobody has ten subscriptions of a hundred read nothing, and
// expects that they delay neither the others nor calls. In virtual time only the network
// takes time, so that any wait for them would show exactly.
func TestThoseThatNeverReadDelayNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const delay, stuck, seconds = 5 * time.Millisecond, 10, 46
		// Each of these gets 460 messages of 8 KiB.
		good := race.Fewer(90, 4)
		mesh := linktest.NewMesh(t, linktest.Delay(delay))
		node := mesh.Node(link.Config{Service: "orders"})
		p, err := pubsub.NewPublisher(node, placed)
		if err != nil {
			t.Fatal(err)
		}
		link.HostOf(node).HandleCall(ping, link.CallHandler{
			New:   func() any { return new(int) },
			Serve: func(_ context.Context, n any) (any, error) { return n, nil },
		})
		mesh.Start(node)
		caller := mesh.Node(link.Config{})
		for range stuck {
			subscribe(t, mesh.Node(link.Config{}), placed, pubsub.Reliable)
		}
		var got atomic.Int64
		var late atomic.Int64
		for range good {
			s, err := pubsub.SubscribeFunc(t.Context(), mesh.Node(link.Config{}), placed, func(_ context.Context, m pubsub.Message[order]) error {
				got.Add(1)
				if m.Gap != nil || time.Since(time.Unix(0, m.Value.Cents)) > 4*delay {
					late.Add(1)
				}
				return nil
			}, pubsub.Reliable)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
		}
		body := string(make([]byte, 8<<10))
		slow := 0
		for range seconds * 10 {
			report, err := p.Publish(t.Context(), order{ID: body, Cents: time.Now().UnixNano()})
			if err != nil || report.Dropped != 0 {
				t.Fatal(report, err)
			}
			began := time.Now()
			in, out := 1, 0
			if err := link.HostOf(caller).Call(t.Context(), ping, &in, &out); err != nil {
				t.Fatal(err)
			}
			if time.Since(began) > 3*delay {
				slow++
			}
			sleep(100*time.Millisecond - time.Since(began))
		}
		sleep(time.Second)
		if n := got.Load(); n != int64(good*seconds*10) || late.Load() > 0 {
			t.Errorf("%d of %d deliveries, %d of them late", n, good*seconds*10, late.Load())
		}
		// The first call dials.
		if slow > 1 {
			t.Errorf("%d calls were slow", slow)
		}
		if n := pubsub.StatsOf(node).Published.Stuck; n != stuck {
			t.Errorf("%d subscriptions were disconnected, want the %d that take nothing", n, stuck)
		}
	})
}

func TestASubscriberKilledInABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		_, p := publisher(t, mesh, link.Config{})
		victim, other := mesh.Node(link.Config{}), mesh.Node(link.Config{})
		a := subscribe(t, victim, placed, pubsub.AtLeastOnce, pubsub.Group("g"), pubsub.Buffer(60_000, 0, 0))
		b := subscribe(t, other, placed, pubsub.AtLeastOnce, pubsub.Group("g"), pubsub.Buffer(60_000, 0, 0))
		const n = 500
		publish(t, p, 1, n)
		done := make(map[string]bool)
		for _, m := range take(t, a, 100) {
			m.Ack()
			done[m.Value.ID] = true
		}
		sleep(time.Second)
		mesh.Kill(victim)
		killed := time.Now()
		for m := range b.Messages() {
			m.Ack()
			if done[m.Value.ID] {
				t.Errorf("message %s was acked and comes again", m.Value.ID)
			}
			done[m.Value.ID] = true
			if len(done) == n {
				break
			}
		}
		// It takes twice Limits.Silence to notice that the member is gone, and 1 s to hand
		// over its messages.
		if took := time.Since(killed); took > 2*time.Second {
			t.Errorf("what it had went to the other member after %v", took)
		}
	})
}

func TestAPublisherKilledInABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		node, p := publisher(t, mesh, link.Config{})
		s := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.Reliable)
		// These are more messages than can be in flight at a time.
		publish(t, p, 1, 50_000)
		first := take(t, s, 100)
		mesh.Kill(node)
		// Messages that were received are delivered in order, and so are those of the next publisher.
		_, next := publisher(t, mesh, link.Config{})
		publish(t, next, 1, 3)
		last := first[99].Seq
		for m := range s.Messages() {
			if m.Publisher != node.Instance() {
				if m.Value.ID == "3" {
					break
				}
				continue
			}
			if m.Gap != nil || m.Seq != last+1 {
				t.Fatalf("after %d: %+v", last, m)
			}
			last = m.Seq
		}
		if last >= 50_000 {
			t.Error("nothing was lost with the publisher, so nothing was tested")
		}
	})
}

// TestAMillionTopics publishes to a million topics and reads them with a wildcard, on one node.
func TestAMillionTopics(t *testing.T) {
	if race.Enabled {
		t.Log("with fewer topics under the race detector")
	}
	n := 1_000_000
	if race.Enabled || testing.Short() {
		n = 50_000
	}
	mesh := linktest.NewMesh(t)
	node, p := publisher(t, mesh, link.Config{})
	s := subscribe(t, node, pubsub.NewTopic[order]("orders", "placed.>"), pubsub.Backpressure(10*time.Second))
	before := heap()
	go func() {
		for i := range n {
			if _, err := p.Publish(t.Context(), order{Cents: int64(i)}, pubsub.Below(fmt.Sprintf("t%d.%d", i/1000, i))); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	seen := 0
	for m := range s.Messages() {
		if m.Gap != nil || m.Value.Cents != int64(seen) || m.Topic != fmt.Sprintf("placed.t%d.%d", seen/1000, seen) {
			t.Fatalf("message %d is %+v, %+v", seen, m, m.Gap)
		}
		if seen++; seen == n {
			break
		}
	}
	// The log keeps 64 MiB of messages, and an index to find them.
	if grown := heap() - before; grown > 160<<20 {
		t.Errorf("%d topics take %d MiB", n, grown>>20)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// raw opens the stream of a subscription, on which the test sends frames made by hand.
func raw(t *testing.T, node *link.Node) *link.Stream {
	t.Helper()
	st, err := link.HostOf(node).Open(t.Context(), link.Route{Service: "orders", Name: "_link/subscribe", Kind: link.KindTopic}, link.StreamCredit(64, 16<<10))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Close)
	return st
}

func say(t *testing.T, st *link.Stream, kind uint8, v any) {
	t.Helper()
	body, ok := v.([]byte)
	if !ok {
		var err error
		if body, err = codec.CBOR().Append(nil, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Send(link.Frame{Kind: kind, Body: body}); err != nil {
		t.Fatal(err)
	}
}

const (
	frameSubscribe uint8 = 0x40
	frameVerdict   uint8 = 0x43
)

type fields map[int]any

func TestHostileSubscribers(t *testing.T) {
	// The class is AtLeastOnce.
	good := fields{1: []string{"placed"}, 3: 3}
	for name, c := range map[string]struct {
		first any
		kind  uint8
		// verdict is sent when the subscription is open. If it is nil, first must be refused.
		verdict any
	}{
		"no CBOR":                            {first: []byte{0xff, 0x00}},
		"another kind first":                 {first: good, kind: frameVerdict},
		"no pattern":                         {first: fields{3: 3}},
		"a bad pattern":                      {first: fields{1: []string{"a..b"}}},
		"too many patterns":                  {first: fields{1: make([]string, 1000)}},
		"a reserved pattern":                 {first: fields{1: []string{"_link.*.own.placed"}}},
		"an unknown class":                   {first: fields{1: []string{"placed"}, 3: 200}},
		"an unknown start":                   {first: fields{1: []string{"placed"}, 5: 200}},
		"a position of no one":               {first: fields{1: []string{"placed"}, 5: 4, 8: []byte{1}}},
		"a window beyond all":                {first: fields{1: []string{"placed"}, 3: 3, 11: uint64(1 << 40)}},
		"a key of 200 KiB":                   {first: fields{1: []string{"placed"}, 2: []string{string(make([]byte, 200<<10))}}},
		"an ack of what was never sent":      {first: good, verdict: fields{1: []uint64{7, 7}}},
		"an ack of everything to come":       {first: good, verdict: fields{1: []uint64{0, 1 << 62}}},
		"half an ack":                        {first: good, verdict: fields{1: []uint64{7}}},
		"an ack that ends before it starts":  {first: good, verdict: fields{1: []uint64{9, 3}}},
		"a nack of what was never sent":      {first: good, verdict: fields{2: []uint64{7, 0}, 6: []string{""}}},
		"a nack without a cause":             {first: good, verdict: fields{2: []uint64{7, 0}}},
		"a release of what was never sent":   {first: good, verdict: fields{3: []uint64{7}}},
		"negative credit":                    {first: good, verdict: fields{5: -1}},
		"an ack where there are none":        {first: fields{1: []string{"placed"}}, verdict: fields{1: []uint64{1, 1}}},
		"a sign of life where there is none": {first: fields{1: []string{"placed"}}, verdict: fields{4: true}},
		"a verdict that is not CBOR":         {first: good, verdict: []byte{0x9f, 0x9f, 0x9f}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				node, p := publisher(t, mesh, link.Config{})
				honest := subscribe(t, mesh.Node(link.Config{}), placed)
				st := raw(t, mesh.Node(link.Config{}))
				kind := c.kind
				if kind == 0 {
					kind = frameSubscribe
				}
				say(t, st, kind, c.first)
				f, err := st.Recv()
				if c.verdict != nil {
					if err != nil {
						t.Fatal(err)
					}
					say(t, st, frameVerdict, c.verdict)
					// Marks may come before the error.
					for err == nil {
						f, err = st.Recv()
					}
				}
				if !errors.Is(err, link.InvalidArgument) {
					t.Errorf("got %+v, %v, want InvalidArgument", f, err)
				}
				publish(t, p, 1, 10)
				take(t, honest, 10)
				sleep(2 * time.Minute)
				if n := len(pubsub.StatsOf(node).Readers); n != 1 {
					t.Errorf("%d subscriptions are left, want the honest one", n)
				}
			})
		})
	}
}

// TestCreditBeyondAllBounds has a member of a group grant a huge credit again and again, and
// expects that the memory of the publisher stays bounded.
func TestCreditBeyondAllBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, p := publisher(t, mesh, link.Config{})
		st := raw(t, mesh.Node(link.Config{}))
		say(t, st, frameSubscribe, fields{1: []string{"placed"}, 9: "g"})
		if _, err := st.Recv(); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			say(t, st, frameVerdict, fields{5: uint64(1 << 40)})
			sleep(time.Millisecond)
		}
		honest := subscribe(t, mesh.Node(link.Config{}), placed)
		before := heap()
		// The member reads none of these messages.
		publish(t, p, 1, 100_000)
		if grown := heap() - before; grown > 100<<20 {
			t.Errorf("the publisher grew by %d MiB", grown>>20)
		}
		for m := range honest.Messages() {
			if m.Seq == 100_000 {
				break
			}
		}
	})
}

func TestAPeerHasSoManySubscriptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		publisher(t, mesh, link.Config{})
		client := mesh.Node(link.Config{Service: "greedy"})
		for i := range pubsub.MaxSubscriptions + 1 {
			st := raw(t, client)
			say(t, st, frameSubscribe, fields{1: []string{"placed"}})
			_, err := st.Recv()
			if last := i == pubsub.MaxSubscriptions; last != errors.Is(err, link.ResourceExhausted) || !last && err != nil {
				t.Fatalf("subscription %d: %v", i, err)
			}
		}
		subscribe(t, mesh.Node(link.Config{Service: "modest"}), placed)
		if _, err := pubsub.Subscribe(t.Context(), client, placed); !errors.Is(err, link.ResourceExhausted) {
			t.Errorf("one more by the library: %v", err)
		}
	})
}
