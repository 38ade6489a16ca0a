package pipeline_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
)

// TestAWorkerThatIsFoundNoMoreIsNotAwaited checks that a queue does not wait 5 s for a lost worker that
// discovery no longer lists.
func TestAWorkerThatIsFoundNoMoreIsNotAwaited(t *testing.T) {
	for name, lost := range map[string]bool{"before its connection is lost": false, "while it is awaited": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				began := make(chan struct{}, 10)
				hang := func(ctx context.Context, _ order) error { began <- struct{}{}; <-ctx.Done(); return ctx.Err() }
				w := mesh.Node(link.Config{Service: "mailer", Limits: hasty()})
				pipeline.Pull(w, receipts, pipeline.NoResult(hang))
				mesh.Start(w)
				client := mesh.Node(link.Config{Limits: hasty()})
				p := producer(t, client)
				f := enqueue(t, p, 1)[0]
				<-began
				mesh.Partition(client, w)
				for lost && p.Stats().Workers[0].Connected {
					sleep(10 * time.Millisecond)
				}
				mesh.Kill(w)
				awaited := 0
				for s := p.Stats(); s.InFlight > 0; s = p.Stats() {
					if !s.Workers[0].Connected {
						awaited++
					}
					sleep(10 * time.Millisecond)
				}
				// Discovery takes a second to believe that the worker is gone.
				if awaited > 200 {
					t.Errorf("it was awaited for %v", time.Duration(awaited)*10*time.Millisecond)
				}
				worker(t, mesh, func(context.Context, order) error { return nil })
				wait(t, []*pipeline.Future[pipeline.None]{f})
				if n := f.Outcome().Attempts; n != 2 {
					t.Errorf("%d attempts, want 2: it had begun", n)
				}
			})
		})
	}
}

// TestAWorkerWhoseProcessIsGoneIsNotAwaited checks that a queue does not wait for a worker when its host
// says that its process is gone, although the registry still lists the worker.
func TestAWorkerWhoseProcessIsGoneIsNotAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		began := make(chan struct{}, 10)
		w := worker(t, mesh, func(ctx context.Context, _ order) error { began <- struct{}{}; <-ctx.Done(); return ctx.Err() })
		p := producer(t, mesh.Node(link.Config{}))
		f := enqueue(t, p, 1)[0]
		<-began
		var done tally
		worker(t, mesh, func(_ context.Context, o order) error { done.add(o.ID); return nil })
		mesh.Crash(w)
		killed := time.Now()
		for p.Stats().InFlight > 0 {
			sleep(10 * time.Millisecond)
		}
		if d := time.Since(killed); d > time.Second {
			t.Errorf("it was given up after %v", d)
		}
		wait(t, []*pipeline.Future[pipeline.None]{f})
		if o := f.Outcome(); o.Attempts != 2 || o.History[0].Cause != "the process of the worker is gone" || o.History[0].Outcome != "disconnected" {
			t.Errorf("%+v", o)
		}
	})
}

// TestAWorkerAtTheAddressOfAnotherIsServedOnce starts a worker at the address of one that crashed and
// that the registry still lists. Both instances lead to the new process, which must not be taken for two
// workers.
func TestAWorkerAtTheAddressOfAnotherIsServedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		before := worker(t, mesh, func(context.Context, order) error { return nil })
		p := producer(t, mesh.Node(link.Config{}))
		wait(t, enqueue(t, p, 1))
		mesh.Crash(before)
		node := mesh.NodeAt(before, link.Config{Service: "mailer"})
		var done tally
		pipeline.Pull(node, receipts, pipeline.NoResult(func(_ context.Context, o order) error {
			done.add(o.ID)
			sleep(10 * time.Second)
			return nil
		}))
		mesh.Start(node)
		sleep(5 * time.Second)
		wait(t, enqueue(t, p, 8))
		s := p.Stats()
		if s.Failures != 0 || s.Releases != 0 || len(s.Workers) != 1 {
			t.Errorf("%d attempts failed, %d tasks came back, %d workers are connected: %+v", s.Failures, s.Releases, len(s.Workers), s)
		}
		for i := range 8 {
			if n := done.count(fmt.Sprint(i)); n != 1 {
				t.Errorf("task %d was done %d times", i, n)
			}
		}
	})
}
