package pubsub_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// TestANodeHearsItselfWithoutASocket checks that a node receives what it publishes itself.
func TestANodeHearsItselfWithoutASocket(t *testing.T) {
	for name, opts := range map[string][]pubsub.SubscribeOption{
		"best effort":   nil,
		"reliable":      {pubsub.Reliable},
		"latest":        {pubsub.Latest},
		"at least once": {pubsub.AtLeastOnce},
		"group":         {pubsub.Group("g")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				node, p := publisher(t, mesh, link.Config{})
				s := subscribe(t, node, placed, opts...)
				publish(t, p, 1, 100, pubsub.Key("a"))
				publish(t, p, 101, 3000, pubsub.Below("x"))
				seen := 0
				for m := range s.Messages() {
					if m.Peer().Instance != node.Instance() || m.Publisher != node.Instance() {
						t.Fatalf("got %+v", m)
					}
					if m.Gap == nil {
						seen++
					}
					m.Ack()
					if m.Seq == 100 || m.Gap != nil && m.Gap.To == 100 {
						break
					}
				}
				if seen == 0 {
					t.Error("nothing came")
				}
				sleep(time.Minute)
				stats := pubsub.StatsOf(node)
				if len(stats.Readers) != 1 || len(stats.Subscriptions) != 1 || !stats.Subscriptions[0].Publishers[0].Connected || stats.Readers[0].Unacked != 0 {
					t.Errorf("stats %+v", stats)
				}
			})
		})
	}
}
