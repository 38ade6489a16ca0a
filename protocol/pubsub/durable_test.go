package pubsub_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestADurableNameOutlivesItsSubscriber checks that however a subscriber with a durable name ends,
// the next one with the name, on another node, gets the messages that were not acked and those
// published meanwhile.
func TestADurableNameOutlivesItsSubscriber(t *testing.T) {
	for name, end := range map[string]func(mesh *linktest.Mesh, node *link.Node, s *pubsub.Subscription[order]){
		"closed":  func(_ *linktest.Mesh, _ *link.Node, s *pubsub.Subscription[order]) { s.Close() },
		"stopped": func(mesh *linktest.Mesh, node *link.Node, _ *pubsub.Subscription[order]) { mesh.Stop(node) },
		"killed":  func(mesh *linktest.Mesh, node *link.Node, _ *pubsub.Subscription[order]) { mesh.Kill(node) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
				publishing, p := publisher(t, mesh, link.Config{})
				// After this time the publisher knows all names in use, and reports no restart.
				sleep(pubsub.DurableKept)
				opts := []pubsub.SubscribeOption{pubsub.AtLeastOnce, pubsub.Durable("audit")}
				first := mesh.Node(link.Config{Service: "auditor"})
				s := subscribe(t, first, placed, opts...)
				publish(t, p, 1, 4)
				for i, m := range take(t, s, 3) {
					if i != 1 {
						m.Ack()
					}
				}
				sleep(100 * time.Millisecond)
				end(mesh, first, s)
				sleep(time.Minute)
				publish(t, p, 5, 6)
				sleep(2 * time.Minute)
				if st := pubsub.StatsOf(publishing).Published; st.Durable != 1 || st.Sessions != 1 {
					t.Errorf("stats %+v", st)
				}
				// The same name of another identity is another durable name.
				stranger := subscribe(t, mesh.Node(link.Config{Service: "stranger"}), placed, opts...)
				next := subscribe(t, mesh.Node(link.Config{Service: "auditor"}), placed, opts...)
				want(t, within(next, 10*time.Second), "2", "4", "5", "6")
				want(t, within(stranger, time.Second))
				next.Forget()
				stranger.Forget()
				sleep(time.Second)
				if st := pubsub.StatsOf(publishing).Published; st.Durable != 0 || st.Sessions != 0 {
					t.Errorf("the names were given up, and there are %+v", st)
				}
			})
		})
	}
}

// TestADurableNameIsHeldByOne checks that a second subscription with a durable name waits until
// the first has ended.
func TestADurableNameIsHeldByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		_, p := publisher(t, mesh, link.Config{})
		sleep(pubsub.DurableKept)
		opts := []pubsub.SubscribeOption{pubsub.AtLeastOnce, pubsub.Durable("audit")}
		a := subscribe(t, mesh.Node(link.Config{}), placed, opts...)
		b := subscribe(t, mesh.Node(link.Config{}), placed, opts...)
		publish(t, p, 1, 1)
		take(t, a, 1)[0].Ack()
		sleep(time.Minute)
		a.Close()
		publish(t, p, 2, 2)
		want(t, within(b, 10*time.Second), "2")
	})
}

// TestADurableNameEnds checks that a publisher forgets a durable name that no subscription has
// used for DurableKept.
func TestADurableNameEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node, p := publisher(t, mesh, link.Config{})
		s := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.AtLeastOnce, pubsub.Durable("audit"))
		s.Close()
		sleep(pubsub.DurableKept - time.Minute)
		publish(t, p, 1, 1)
		if n := pubsub.StatsOf(node).Published.Durable; n != 1 {
			t.Errorf("%d names, want 1", n)
		}
		sleep(2 * time.Minute)
		publish(t, p, 2, 2)
		// Another goroutine tells the log the time.
		synctest.Wait()
		if n := pubsub.StatsOf(node).Published.Durable; n != 0 {
			t.Errorf("%d names, want none", n)
		}
	})
}

// TestOneIdentityDoesNotTakeAllSessions (SEC-721) has an identity take as many sessions as it can,
// with durable names and without, and expects that it leaves room for others.
func TestOneIdentityDoesNotTakeAllSessions(t *testing.T) {
	for _, tt := range []struct {
		name    string
		most    int
		durable bool
		modest  []pubsub.SubscribeOption
	}{
		{"durable names", pubsub.MaxDurable, true, []pubsub.SubscribeOption{pubsub.Durable("audit")}},
		{"sessions", journal.MaxSessions - pubsub.MaxDurable, false, nil},
	} {
		if race.Enabled && !tt.durable {
			// The race detector would see the same goroutines as with durable names, of which there are fewer.
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				publisher(t, mesh, link.Config{})
				greedy := mesh.Node(link.Config{Service: "greedy"})
				taken := 0
				var err error
				for i := range tt.most {
					st := raw(t, greedy)
					ask := fields{1: []string{"placed"}, 3: 3, 10: fmt.Sprint(i)}
					if tt.durable {
						ask[20] = true
					}
					say(t, st, frameSubscribe, ask)
					if _, err = st.Recv(); err != nil {
						break
					}
					taken++
					st.Close()
					sleep(time.Millisecond)
				}
				if taken > tt.most/2 || taken < tt.most/4 || !errors.Is(err, link.ResourceExhausted) {
					t.Errorf("one has %d of %d, then %v", taken, tt.most, err)
				}
				subscribe(t, mesh.Node(link.Config{Service: "modest"}), placed, append(tt.modest, pubsub.AtLeastOnce)...)
			})
		})
	}
}

func TestADurableNameNeedsAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		for _, opts := range [][]pubsub.SubscribeOption{{pubsub.Durable("audit")}, {pubsub.AtLeastOnce, pubsub.Durable("")}} {
			if _, err := pubsub.Subscribe(t.Context(), mesh.Node(link.Config{}), placed, opts...); !errors.Is(err, link.InvalidArgument) {
				t.Errorf("got %v", err)
			}
		}
	})
}

// TestADurableNameHearsThatItsPublisherStartedAnew replaces a publisher by a new instance at the
// same address. It expects that a gap reports that the place at the earlier run is lost, and that
// everything that the new instance has published arrives.
func TestADurableNameHearsThatItsPublisherStartedAnew(t *testing.T) {
	for name, end := range map[string]func(mesh *linktest.Mesh, node *link.Node){
		"drained": func(mesh *linktest.Mesh, node *link.Node) { mesh.Stop(node) },
		"crashed": func(mesh *linktest.Mesh, node *link.Node) { mesh.Crash(node) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
				before, p := publisher(t, mesh, link.Config{})
				// After this time the publisher knows all names in use, and reports no restart.
				sleep(2 * pubsub.DurableKept)
				opts := []pubsub.SubscribeOption{pubsub.AtLeastOnce, pubsub.Durable("audit")}
				lives := subscribe(t, mesh.Node(link.Config{Service: "observer"}), placed, pubsub.AtLeastOnce, pubsub.Durable("live"))
				s := subscribe(t, mesh.Node(link.Config{Service: "auditor"}), placed, opts...)
				publish(t, p, 1, 2)
				take(t, s, 2)[0].Ack()
				for _, m := range take(t, lives, 2) {
					m.Ack()
				}
				sleep(100 * time.Millisecond)
				s.Close()
				publish(t, p, 3, 3)
				take(t, lives, 1)[0].Ack()
				sleep(time.Second)
				end(mesh, before)
				sleep(time.Second)

				node := mesh.NodeAt(before, link.Config{Service: "orders"})
				again, err := pubsub.NewPublisher(node, placed)
				if err != nil {
					t.Fatal(err)
				}
				mesh.Start(node)
				sleep(10 * time.Second)
				publish(t, again, 4, 5)
				next := subscribe(t, mesh.Node(link.Config{Service: "auditor"}), placed, opts...)
				publish(t, again, 6, 6)
				want(t, within(next, 10*time.Second), "restart", "4", "5", "6")

				// A subscription that was there all the time is told that a crashed publisher is gone.
				told := []string{"gone", "4", "5", "6"}
				if name == "drained" {
					told = told[1:]
				}
				want(t, within(lives, 10*time.Second), told...)
			})
		})
	}
}

// TestADurableNameIsToldNothingWithoutNeed checks that a durable subscription gets no gap "restart"
// from a publisher that knows all names in use, when it comes back to a publisher that knows its
// name, or from a new publisher when it has existed for DurableKept.
func TestADurableNameIsToldNothingWithoutNeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		_, p := publisher(t, mesh, link.Config{})
		publish(t, p, 1, 1)
		sleep(pubsub.DurableKept)
		opts := []pubsub.SubscribeOption{pubsub.AtLeastOnce, pubsub.Durable("audit")}
		node := mesh.Node(link.Config{Service: "auditor"})
		first := subscribe(t, node, placed, opts...)
		publish(t, p, 2, 2)
		take(t, first, 1)[0].Ack()
		sleep(time.Second)
		first.Close()
		next := subscribe(t, node, placed, opts...)
		publish(t, p, 3, 3)
		sleep(pubsub.DurableKept)
		_, other := publisher(t, mesh, link.Config{})
		sleep(time.Second)
		publish(t, other, 4, 4)
		want(t, within(next, 10*time.Second), "3", "4")
	})
}
