package pubsub_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// TestEveryAckArrives acks messages in several ways and orders, and expects that the publisher
// counts none of them as unacked: their room is free, and a drain does not wait for them.
func TestEveryAckArrives(t *testing.T) {
	type acks = func(t *testing.T, s *pubsub.Subscription[order])
	inTurn := func(ids ...string) acks {
		return func(t *testing.T, s *pubsub.Subscription[order]) {
			t.Helper()
			had := make(map[string]pubsub.Message[order])
			for _, m := range take(t, s, 4) {
				had[m.Value.ID] = m
			}
			for _, id := range ids {
				m := had[id]
				m.Ack()
			}
		}
	}
	for name, ack := range map[string]acks{
		"by number":    inTurn("1", "2", "3", "4"),
		"from the end": inTurn("4", "3", "2", "1"),
		"mixed":        inTurn("3", "2", "4", "1"),
		"through the last": func(t *testing.T, s *pubsub.Subscription[order]) {
			t.Helper()
			for _, m := range take(t, s, 4) {
				if m.Value.ID == "4" {
					defer m.AckThrough()
				}
			}
		},
		"as a range": func(t *testing.T, s *pubsub.Subscription[order]) {
			t.Helper()
			list := take(t, s, 4)
			s.AckRange(list[0].Publisher, 1, 4)
		},
		"one after it was nacked": func(t *testing.T, s *pubsub.Subscription[order]) {
			t.Helper()
			list := take(t, s, 4)
			for _, m := range list {
				if m.Value.ID == "1" {
					m.Nack(pubsub.Retry(0, errors.New("once more")))
				}
			}
			again := take(t, s, 1)[0]
			again.Ack()
			for _, m := range list {
				m.Ack()
			}
		},
		"a range after one of it was released": func(t *testing.T, s *pubsub.Subscription[order]) {
			t.Helper()
			list := take(t, s, 4)
			for _, m := range list {
				if m.Value.ID == "3" {
					m.Nack(pubsub.Release("somebody else may"))
				}
			}
			take(t, s, 1)
			s.AckRange(list[0].Publisher, 1, 4)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				node, p := publisher(t, mesh, link.Config{})
				// The messages with even IDs have the higher priority and are sent first.
				for i := range 4 {
					publish(t, p, i+1, i+1, pubsub.Priority([]uint8{4, 7}[i%2]))
				}
				ack(t, subscribe(t, mesh.Node(link.Config{}), placed, pubsub.AtLeastOnce, pubsub.FromOldest()))
				sleep(time.Second)
				if r := pubsub.StatsOf(node).Readers; len(r) != 1 || r[0].Messages < 4 || r[0].Unacked != 0 {
					t.Errorf("all is acked, and the publisher says %+v", r)
				}
			})
		})
	}
}

// TestARangeIsOfWhatWasAcked checks that AckRange does not ack a message in the middle of the
// range that was nacked, although it was sent again, on another connection, before that call.
func TestARangeIsOfWhatWasAcked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, p := publisher(t, mesh, link.Config{})
		client := mesh.Node(link.Config{})
		s := subscribe(t, client, placed, pubsub.AtLeastOnce)
		publish(t, p, 1, 4)
		list := take(t, s, 4)
		list[1].Nack(pubsub.Retry(0, errors.New("no")))
		// The nack reaches the publisher.
		sleep(time.Second)
		apart(mesh, node, client, 10*time.Second)
		// All messages are sent again, and nobody reads them.
		sleep(10 * time.Second)
		s.AckRange(list[0].Publisher, 1, 4)
		sleep(time.Second)
		if r := pubsub.StatsOf(node).Readers; len(r) != 1 || r[0].Unacked != 1 {
			t.Errorf("three of four are acked, and the publisher says %+v", r)
		}
	})
}
