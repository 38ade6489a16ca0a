package pubsub_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/internal/logtest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// TestADrainDeliversWhatHandlersPublishMeanwhile drains a node whose handler is still running and
// publishes before it answers, and expects that the message is delivered.
func TestADrainDeliversWhatHandlersPublishMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		node := mesh.Node(link.Config{Service: "orders"})
		p, err := pubsub.NewPublisher(node, placed)
		if err != nil {
			t.Fatal(err)
		}
		link.HostOf(node).HandleCall(ping, link.CallHandler{
			New: func() any { return new(int) },
			Serve: func(ctx context.Context, n any) (any, error) {
				sleep(2 * time.Second)
				_, err := p.Publish(ctx, order{ID: "late"})
				return n, err
			},
		})
		mesh.Start(node)
		client := mesh.Node(link.Config{})
		s := subscribe(t, client, placed)
		answered := make(chan error, 1)
		go func() {
			in, out := 1, 0
			answered <- link.HostOf(client).Call(t.Context(), ping, &in, &out)
		}()
		sleep(100 * time.Millisecond)
		began := time.Now()
		mesh.Stop(node)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the drain took %v, and should end with the handler", took)
		}
		if err := <-answered; err != nil {
			t.Error(err)
		}
		if m := take(t, s, 1)[0]; m.Value.ID != "late" {
			t.Errorf("got %+v", m)
		}
	})
}

// TestADrainDeliversWhatIsOwed checks, in every class, that a slow subscriber has received all
// messages before a draining publisher ends, or is told how many it has not received.
func TestADrainDeliversWhatIsOwed(t *testing.T) {
	run := 0
	for _, class := range []pubsub.Class{pubsub.BestEffort, pubsub.Latest, pubsub.Reliable, pubsub.AtLeastOnce} {
		// The first drain time is long enough for all messages, and the second is not.
		for _, drain := range []time.Duration{time.Minute, 2 * time.Second} {
			for _, size := range []int{10, 3000} {
				// The remaining third has every class, and both drain times and sizes.
				if run++; race.Enabled && run%3 != 0 {
					continue
				}
				t.Run(fmt.Sprint(class, ", ", drain, ", ", size), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { drainSlow(t, class, drain, size) })
				})
			}
		}
	}
}

func drainSlow(t *testing.T, class pubsub.Class, drain time.Duration, size int) {
	t.Helper()
	mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
	node, p := publisher(t, mesh, link.Config{Limits: link.Limits{DrainTimeout: drain}})
	s := subscribe(t, mesh.Node(link.Config{}), placed, class)
	const n = 3000
	const pace = 2 * time.Millisecond
	published := make(chan struct{})
	go func() {
		defer close(published)
		body := string(make([]byte, size))
		for i := range n {
			if _, err := p.Publish(t.Context(), order{ID: body, Cents: int64(i)}, pubsub.Key(fmt.Sprint(i%7))); err != nil {
				t.Error(err)
			}
			sleep(pace / 2)
		}
	}()
	stopped := make(chan struct{})
	go func() {
		<-published
		// Stop fails the test if handlers had to be canceled.
		mesh.Stop(node)
		close(stopped)
	}()
	got, told, ended := 0, uint64(0), false
	defer time.AfterFunc(time.Hour, s.Close).Stop()
	for m := range s.Messages() {
		switch {
		case m.Gap == nil:
			got++
			m.Ack()
			sleep(pace)
		case m.Gap.Count == 0:
			t.Fatalf("gap %+v", m.Gap)
		default:
			told += m.Gap.Count
			ended = ended || m.Gap.Reason == "drained"
		}
		if uint64(got)+told >= n {
			break
		}
	}
	if uint64(got)+told != n {
		t.Errorf("%d messages came and %d were told as missing, of %d", got, told, n)
	}
	if ended && drain > 10*time.Second {
		t.Errorf("there was time for all, and %d were told as missing", told)
	}
	if rest := within(s, time.Minute); len(rest) > 0 {
		t.Errorf("after everything there came %v", rest)
	}
	<-stopped
}

// TestADrainTellsThoseThatReadNothing checks that a subscriber that reads nothing during a drain
// is told how many messages it missed, and that the drain takes no longer than its timeout.
func TestADrainTellsThoseThatReadNothing(t *testing.T) {
	for _, class := range []pubsub.Class{pubsub.BestEffort, pubsub.Latest, pubsub.Reliable, pubsub.AtLeastOnce} {
		t.Run(class.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
				var log logtest.Log
				node, p := publisher(t, mesh, link.Config{Limits: link.Limits{DrainTimeout: 4 * time.Second}, Logger: log.Logger()})
				s := subscribe(t, mesh.Node(link.Config{}), placed, class)
				const n = 2000
				for i := range n {
					if _, err := p.Publish(t.Context(), order{ID: string(make([]byte, 3000)), Cents: int64(i)}, pubsub.Key(fmt.Sprint(i))); err != nil {
						t.Fatal(err)
					}
				}
				mesh.Stop(node)
				got, told := 0, uint64(0)
				var last string
				for m := range s.Messages() {
					if m.Gap == nil {
						got++
					} else {
						told, last = told+m.Gap.Count, m.Gap.Reason
					}
					if uint64(got)+told >= n {
						break
					}
				}
				if all := uint64(got) + told; all != n || last != "drained" {
					t.Errorf("%d messages came, and %d were told as missing, of %d; the last one: %s", got, told, n, last)
				}
				if !strings.Contains(log.String(), "the drain has ended before") {
					t.Errorf("the log says nothing of it:\n%s", log.String())
				}
			})
		})
	}
}

// TestADrainDeliversWhatItsFunctionsPublish checks that messages that functions of OnDrain and
// OnLastCall publish are delivered, however long the functions take within the time of the drain.
func TestADrainDeliversWhatItsFunctionsPublish(t *testing.T) {
	for name, register := range map[string]func(*link.Node, func(context.Context) error){"OnDrain": (*link.Node).OnDrain, "OnLastCall": func(n *link.Node, f func(context.Context) error) { link.HostOf(n).OnLastCall(f) }} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
				node, p := publisher(t, mesh, link.Config{})
				register(node, func(ctx context.Context) error {
					for i := range 3 {
						sleep(time.Second)
						if _, err := p.Publish(ctx, order{ID: fmt.Sprint(i)}); err != nil {
							return err
						}
					}
					return nil
				})
				s := subscribe(t, mesh.Node(link.Config{}), placed, pubsub.AtLeastOnce)
				stopped := make(chan struct{})
				go func() {
					mesh.Stop(node)
					close(stopped)
				}()
				defer time.AfterFunc(time.Hour, s.Close).Stop()
				for i, m := range take(t, s, 3) {
					if m.Value.ID != fmt.Sprint(i) {
						t.Errorf("message %d: %+v", i, m)
					}
					m.Ack()
				}
				<-stopped
			})
		})
	}
}

// TestWhatIsPublishedAtTheEndOfADrainIsDeliveredOrRefused publishes until the end of a drain, and
// expects that at any time a publish fails, or its message arrives or is counted in a gap.
func TestWhatIsPublishedAtTheEndOfADrainIsDeliveredOrRefused(t *testing.T) {
	for name, pause := range map[string]time.Duration{"a reader that keeps up": 0, "one that does not": 20 * time.Millisecond} {
		for _, class := range []pubsub.Class{pubsub.BestEffort, pubsub.Reliable, pubsub.AtLeastOnce} {
			// With handler, a function of OnDrain keeps the node from becoming quiet.
			for _, handler := range []bool{true, false} {
				t.Run(fmt.Sprint(name, ", ", class, ", ", handler), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { publishThrough(t, class, pause, handler) })
				})
			}
		}
	}
}

func publishThrough(t *testing.T, class pubsub.Class, pause time.Duration, handler bool) {
	t.Helper()
	mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
	node, p := publisher(t, mesh, link.Config{Limits: link.Limits{DrainTimeout: 4 * time.Second}})
	s := subscribe(t, mesh.Node(link.Config{}), placed, class)
	if handler {
		node.OnDrain(func(ctx context.Context) error { <-ctx.Done(); return nil })
	}
	var accepted uint64
	refused := make(chan error, 1)
	go func() {
		defer close(refused)
		for range 4000 {
			if _, err := p.Publish(context.WithoutCancel(t.Context()), order{ID: "x"}); err != nil {
				refused <- err
				return
			}
			accepted++
			sleep(2 * time.Millisecond)
		}
	}()
	var got, told uint64
	read := make(chan struct{})
	go func() {
		defer close(read)
		for m := range s.Messages() {
			if m.Gap != nil {
				told += m.Gap.Count
				continue
			}
			got++
			m.Ack()
			if pause > 0 {
				sleep(pause)
			}
		}
	}()
	sleep(time.Second)
	if err := node.Shutdown(deadline(t, 4*time.Second)); err != nil {
		// The test does not care that the function of OnDrain was left behind.
		t.Log(err)
	}
	err := <-refused
	sleep(time.Minute)
	s.Close()
	<-read
	if !errors.Is(err, link.Unavailable) || !strings.Contains(err.Error(), "drain") {
		t.Errorf("a publish at the end: %v, want unavailable, and why", err)
	}
	if got+told != accepted {
		t.Errorf("%d messages were published, %d came and %d were told as missing", accepted, got, told)
	}
}

func deadline(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
