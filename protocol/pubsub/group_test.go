package pubsub_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// TestAMemberThatReadsGetsMoreThanItsFirstCredit publishes more messages than the first credit of
// a member of a group, and expects that all arrive.
func TestAMemberThatReadsGetsMoreThanItsFirstCredit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, p := publisher(t, mesh, link.Config{})
		s := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.Group("billing"), pubsub.Buffer(10_000, 0, 0))
		publish(t, p, 1, 5000)
		take(t, s, 5000)
	})
}

// TestGroupsHaveTwoClasses checks that Subscribe refuses a group in a class other than BestEffort
// and AtLeastOnce, with a publisher or without.
func TestGroupsHaveTwoClasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		for _, publishes := range []bool{false, true} {
			if publishes {
				publisher(t, mesh, link.Config{})
			}
			for class, refused := range map[pubsub.Class]bool{pubsub.BestEffort: false, pubsub.AtLeastOnce: false, pubsub.Latest: true, pubsub.Reliable: true} {
				s, err := pubsub.Subscribe(t.Context(), mesh.Node(link.Config{}), placed, class, pubsub.Group("g"))
				if err == nil {
					s.Close()
				}
				if errors.Is(err, link.InvalidArgument) != refused || refused == (err == nil) {
					t.Errorf("%v in a group: %v, want that it is refused: %t", class, err, refused)
				}
				if refused && !strings.Contains(err.Error(), class.String()) {
					t.Errorf("the error does not name the class: %v", err)
				}
			}
		}
	})
}

// TestAMemberThatHangsHoldsUpItsOwnKeysOnly has one of two members hang in its first message, and
// expects that the other one handles the messages of its own keys.
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
			s, err := pubsub.SubscribeFunc(t.Context(), mesh.Node(link.Config{}), placed, f, pubsub.AtLeastOnce, pubsub.Group("billing"))
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

// TestAMemberThatClosesHandsOverAtOnce checks that when a member closes, the messages that it has
// not acked (AtLeastOnce) or not read (BestEffort) go to another member at once and without a gap,
// even if that member joined after they were published.
func TestAMemberThatClosesHandsOverAtOnce(t *testing.T) {
	for _, class := range []pubsub.Class{pubsub.BestEffort, pubsub.AtLeastOnce} {
		t.Run(class.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
				node, p := publisher(t, mesh, link.Config{})
				opts := []pubsub.SubscribeOption{class, pubsub.Group("g")}
				a := subscribe(t, mesh.Node(link.Config{}), placed, opts...)
				const n = 100
				publish(t, p, 1, n, pubsub.Key("k"))
				done := make(map[string]bool)
				for _, m := range take(t, a, 10) {
					m.Ack()
					done[m.Value.ID] = true
				}
				b := subscribe(t, mesh.Node(link.Config{}), placed, opts...)
				a.Close()
				closed := time.Now()
				// If messages are missing, this ends the test.
				defer time.AfterFunc(time.Minute, b.Close).Stop()
				for _, m := range take(t, b, n-10) {
					if m.Gap != nil || done[m.Value.ID] {
						t.Errorf("message %s, gap %+v; it came before: %t", m.Value.ID, m.Gap, done[m.Value.ID])
					}
					m.Ack()
					done[m.Value.ID] = true
				}
				if took := time.Since(closed); took > 100*time.Millisecond {
					t.Errorf("the other member had all after %v", took)
				}
				b.Close()
				sleep(10 * time.Millisecond)
				if r, err := p.Publish(t.Context(), order{}); err != nil || r.Matched != 0 {
					t.Errorf("nobody subscribes, and a message has matched %+v, %v; %+v", r, err, pubsub.StatsOf(node).Readers)
				}
			})
		})
	}
}

// TestWhatAMemberLeavesWaitsForOneThatComesLater closes a member when the other one has no credit
// left, and expects that a member that subscribes afterward gets all its messages.
func TestWhatAMemberLeavesWaitsForOneThatComesLater(t *testing.T) {
	for _, class := range []pubsub.Class{pubsub.BestEffort, pubsub.AtLeastOnce} {
		t.Run(class.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
				node, p := publisher(t, mesh, link.Config{})
				opts := []pubsub.SubscribeOption{class, pubsub.Group("g")}
				const n, few = 100, 10
				busy := subscribe(t, mesh.Node(link.Config{}), placed, append(opts, pubsub.GroupCredit(few))...)
				a := subscribe(t, mesh.Node(link.Config{}), placed, opts...)
				publish(t, p, 1, n)
				done := make(map[string]bool)
				read := func(who string, s *pubsub.Subscription[order], n int) {
					t.Helper()
					// If messages are missing, this ends the test.
					defer time.AfterFunc(time.Minute, s.Close).Stop()
					for _, m := range take(t, s, n) {
						if m.Gap != nil || done[m.Value.ID] {
							t.Errorf("%s: message %s, gap %+v; it came before: %t", who, m.Value.ID, m.Gap, done[m.Value.ID])
						}
						m.Ack()
						done[m.Value.ID] = true
					}
				}
				read("the one that closes", a, few)
				a.Close()
				sleep(time.Second)
				if list := pubsub.StatsOf(node).Readers; len(list) != 1 || list[0].Lag.Messages < n-2*few {
					t.Errorf("when it has closed, the readers are %+v", list)
				}
				read("the one that comes later", subscribe(t, mesh.Node(link.Config{}), placed, opts...), n-2*few)
				read("the one that was busy", busy, few)
				if len(done) != n {
					t.Errorf("%d messages came, want %d", len(done), n)
				}
			})
		})
	}
}

// TestWhatALostMemberHadIsHandedOverInTime kills a member at several times, and expects that another
// member gets its messages in time. It takes twice Limits.Silence, or some more for QUIC's probes, to
// notice that the member is gone, and a second to give up waiting for it. There is no other traffic.
func TestWhatALostMemberHadIsHandedOverInTime(t *testing.T) {
	for phase := range 8 {
		synctest.Test(t, func(t *testing.T) {
			mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
			_, p := publisher(t, mesh, link.Config{})
			opts := []pubsub.SubscribeOption{pubsub.AtLeastOnce, pubsub.Group("g")}
			victim := mesh.Node(link.Config{})
			a := subscribe(t, victim, placed, opts...)
			const n = 10
			publish(t, p, 1, n)
			take(t, a, n)
			b := subscribe(t, mesh.Node(link.Config{}), placed, opts...)
			sleep(time.Minute + time.Duration(phase)*125*time.Millisecond)
			mesh.Kill(victim)
			killed := time.Now()
			take(t, b, n)
			if took := time.Since(killed); took > 2*time.Second+100*time.Millisecond {
				t.Errorf("phase %d: what it had went to the other member after %v", phase, took)
			}
		})
	}
}

// TestALostMemberIsToldOf checks that the other members are told of the messages that were in
// flight to a lost member, because BestEffort does not deliver these again.
func TestALostMemberIsToldOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		_, p := publisher(t, mesh, link.Config{})
		victim := mesh.Node(link.Config{})
		subscribe(t, victim, placed, pubsub.Group("g"))
		other := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.Group("g"))
		const n = 400
		publish(t, p, 1, n)
		sleep(time.Second)
		mesh.Kill(victim)
		sleep(time.Minute)
		got, told := 0, uint64(0)
		// This ends the loop below.
		defer time.AfterFunc(time.Minute, other.Close).Stop()
		for m := range other.Messages() {
			if m.Gap == nil {
				got++
			} else if told += m.Gap.Count; m.Gap.Reason != "lost" {
				t.Errorf("gap %+v", m.Gap)
			}
		}
		if told == 0 || uint64(got)+told != n {
			t.Errorf("%d messages came and %d were told as lost, of %d", got, told, n)
		}
	})
}
