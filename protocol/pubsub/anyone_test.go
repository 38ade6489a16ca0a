package pubsub_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// TestAnyOneSwitchesWithoutAHole kills the publisher that a subscription reads, and expects that
// the other one continues the feed without a gap.
func TestAnyOneSwitchesWithoutAHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		a, pa := publisher(t, mesh, link.Config{})
		b, pb := publisher(t, mesh, link.Config{})
		s := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.OneOf(), pubsub.Reliable)
		feed := func(from, to int, to2 ...*pubsub.Publisher[order]) {
			for i := from; i <= to; i++ {
				for _, p := range to2 {
					publish(t, p, i, i, pubsub.FeedSeq(uint64(i)))
				}
			}
		}
		feed(1, 10, pa, pb)
		got := take(t, s, 10)
		holder, rest := a, pb
		if got[0].Publisher == b.Instance() {
			holder, rest = b, pa
		}
		for i, m := range got {
			if m.Feed != uint64(i+1) || m.Publisher != holder.Instance() {
				t.Fatalf("message %d is %+v", i, m)
			}
		}
		mesh.Kill(holder)
		feed(11, 20, rest)
		for i, m := range take(t, s, 10) {
			if m.Gap != nil || m.Feed != uint64(11+i) {
				t.Fatalf("after the switch message %d is %+v, %+v", i, m, m.Gap)
			}
		}
	})
}

func TestAnyOneWithoutNumbersTellsOfTheSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		nodes := make(map[string]*link.Node)
		publishers := make(map[string]*pubsub.Publisher[order])
		for range 2 {
			n, p := publisher(t, mesh, link.Config{})
			nodes[n.Instance()], publishers[n.Instance()] = n, p
		}
		s := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.OneOf())
		for _, p := range publishers {
			publish(t, p, 1, 1)
		}
		first := take(t, s, 1)[0].Publisher
		mesh.Stop(nodes[first])
		delete(publishers, first)
		sleep(5 * time.Second)
		for _, p := range publishers {
			publish(t, p, 2, 2)
		}
		if got := take(t, s, 2); got[0].Gap == nil || got[0].Gap.Reason != "switched" || got[1].Value.ID != "2" {
			t.Errorf("got %+v, then %+v", got[0].Gap, got[1])
		}
	})
}

// TestAnyOneIsPatientWithTheNext kills a publisher while the next one cannot be reached, and
// expects that the feed has no gap when that one can be reached again.
func TestAnyOneIsPatientWithTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		client := mesh.Node(link.Config{})
		a, pa := publisher(t, mesh, link.Config{})
		b, pb := publisher(t, mesh, link.Config{})
		s := subscribe(t, client, placed, pubsub.OneOf(), pubsub.Reliable)
		publish(t, pa, 1, 1, pubsub.FeedSeq(1))
		publish(t, pb, 1, 1, pubsub.FeedSeq(1))
		holder, next, rest := a, b, pb
		if take(t, s, 1)[0].Publisher == b.Instance() {
			holder, next, rest = b, a, pa
		}
		mesh.Partition(client, next)
		mesh.Kill(holder)
		for i := 2; i <= 100; i++ {
			sleep(time.Second)
			publish(t, rest, i, i, pubsub.FeedSeq(uint64(i)))
		}
		mesh.Heal(client, next)
		for i, m := range take(t, s, 99) {
			if m.Gap != nil || m.Feed != uint64(i+2) {
				t.Fatalf("after the switch message %d is %+v, %+v", i, m, m.Gap)
			}
		}
	})
}
