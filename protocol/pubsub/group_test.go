package pubsub_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// TestAMemberThatReadsGetsMoreThanItsFirstCredit publishes more than a member of a
// group is trusted with at first.
func TestAMemberThatReadsGetsMoreThanItsFirstCredit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, p := publisher(t, mesh, link.Config{})
		s := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.Group("billing"), pubsub.Limits(10_000, 0, 0))
		publish(t, p, 1, 5000)
		take(t, s, 5000)
	})
}

// TestAMemberThatHangsHoldsUpItsOwnKeysOnly has two members, of which one never ends
// what it began.
func TestAMemberThatHangsHoldsUpItsOwnKeysOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, p := publisher(t, mesh, link.Config{})
		var hung, done atomic.Int64
		hang := func(ctx context.Context, _ pubsub.Message[order]) error {
			hung.Add(1)
			<-ctx.Done()
			return context.Cause(ctx)
		}
		work := func(context.Context, pubsub.Message[order]) error { done.Add(1); return nil }
		for _, f := range []func(context.Context, pubsub.Message[order]) error{hang, work} {
			s, err := pubsub.SubscribeFunc(t.Context(), mesh.Node(link.Config{}), placed, f, pubsub.In(pubsub.AtLeastOnce), pubsub.Group("billing"))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
		}
		const n = 20_000
		for i := range n {
			publish(t, p, i+1, i+1, pubsub.Key(fmt.Sprint(i%100)))
			if i%1000 == 0 {
				sleep(time.Second)
			}
		}
		sleep(time.Minute)
		if hung.Load() != 1 {
			t.Errorf("%d messages hang, want 1", hung.Load())
		}
		if got := done.Load(); got < n/4 {
			t.Errorf("the other member did %d of %d messages, want those of its keys", got, n)
		}
	})
}
