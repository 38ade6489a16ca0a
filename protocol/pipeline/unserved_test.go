package pipeline_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/internal/logtest"
	"github.com/linkmesh/link/protocol/pipeline"
)

// TestAPushToNobodySaysWhatIsWrong checks that a push to a stage that nobody serves ends by the default
// deadline with an error that says what is wrong, and that the log says so before.
func TestAPushToNobodySaysWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		stage pipeline.Stage[order, pipeline.None]
		says  []string
	}{
		"a mistyped service": {pipeline.NewStage[order, pipeline.None]("mailr", "receipts"), []string{"nobody serves stage receipts of service mailr", `the nearest name there is "mailer"`}},
		"a mistyped stage":   {pipeline.NewStage[order, pipeline.None]("mailer", "reciepts"), []string{"nobody serves stage reciepts of service mailer", `the nearest name there is "receipts"`}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				worker(t, mesh, func(context.Context, order) error { return nil })
				log := &logtest.Log{}
				client := mesh.Node(link.Config{Logger: log.Logger(), Limits: link.Limits{CallTimeout: 12 * time.Second}})
				began := time.Now()
				ended := make(chan error, 1)
				go func() {
					_, err := pipeline.Push(context.WithoutCancel(t.Context()), client, c.stage, order{})
					ended <- err
				}()
				sleep(6 * time.Second)
				if n := strings.Count(log.String(), "tasks wait, and no worker is connected"); n != 1 || !strings.Contains(log.String(), strings.ReplaceAll(c.says[1], `"`, `\"`)) {
					t.Errorf("said %d times, want once with %s:\n%s", n, c.says[1], log)
				}
				var err error
				select {
				case err = <-ended:
				case <-time.After(time.Hour):
					t.Fatal("the push has not ended")
				}
				if took := time.Since(began); took < 12*time.Second || took > 13*time.Second {
					t.Errorf("it took %v", took)
				}
				if !errors.Is(err, link.DeadlineExceeded) {
					t.Errorf("%v, want deadline exceeded", err)
				}
				for _, text := range append(c.says, "CallTimeout") {
					if !strings.Contains(err.Error(), text) {
						t.Errorf("%v\ndoes not say %q", err, text)
					}
				}
				short, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				f, err := pipeline.Enqueue(t.Context(), client, c.stage, order{})
				if err != nil {
					t.Fatal(err)
				}
				full, err := pipeline.NewProducer(client, c.stage, pipeline.Capacity(1, 0))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := full.Enqueue(short, order{}); err != nil {
					t.Fatal(err)
				}
				_, errFull := full.Enqueue(short, order{})
				_, errFuture := f.Wait(short)
				for what, err := range map[string]error{"a future": errFuture, "a full queue": errFull} {
					if !errors.Is(err, link.DeadlineExceeded) || !strings.Contains(err.Error(), c.says[0]) || !strings.Contains(err.Error(), c.says[1]) {
						t.Errorf("%s: %v\ndoes not say %q", what, err, c.says)
					}
				}
				if _, err := pipeline.TryPush(t.Context(), client, c.stage, order{}, pipeline.FailFast()); err == nil || !strings.Contains(err.Error(), c.says[0]) {
					t.Errorf("a push that is not to wait: %v\ndoes not say %q", err, c.says[0])
				}
			})
		})
	}
}

// TestAPushToAFullQueueEndsByTheDefaultDeadline checks that the default deadline of a push also limits
// the wait for room in the queue.
func TestAPushToAFullQueueEndsByTheDefaultDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		client := mesh.Node(link.Config{Limits: link.Limits{CallTimeout: 3 * time.Second}})
		p, err := pipeline.NewProducer(client, receipts, pipeline.Capacity(1, 0))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Enqueue(t.Context(), order{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Hour)
		defer cancel()
		began := time.Now()
		if _, err := p.Push(context.WithoutCancel(ctx), order{}); !errors.Is(err, link.DeadlineExceeded) || time.Since(began) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		shorter, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		began = time.Now()
		if _, err := p.Push(shorter, order{}); !errors.Is(err, link.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("with a deadline of its own: %v after %v", err, time.Since(began))
		}
	})
}

// TestAServedQueueIsNotSaidToWait checks that a queue whose tasks wait is not logged as unserved while a
// worker is connected.
func TestAServedQueueIsNotSaidToWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		worker(t, mesh, func(ctx context.Context, _ order) error {
			select {
			case <-time.After(20 * time.Second):
			case <-ctx.Done():
			}
			return nil
		}, pipeline.Concurrency(1))
		log := &logtest.Log{}
		client := mesh.Node(link.Config{Logger: log.Logger()})
		for range 3 {
			if _, err := pipeline.Enqueue(t.Context(), client, receipts, order{}); err != nil {
				t.Fatal(err)
			}
		}
		sleep(30 * time.Second)
		if strings.Contains(log.String(), "no worker is connected") {
			t.Errorf("the log:\n%s", log)
		}
	})
}

// TestWorkersWithoutTheStageAreSaidOnce checks that workers that do not have a stage yet, as during a
// rollout, are logged only when that lasts, and once for all of them.
func TestWorkersWithoutTheStageAreSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		worker(t, mesh, func(context.Context, order) error { return nil })
		for range 5 {
			mesh.Start(mesh.Node(link.Config{Service: "mailer"}))
		}
		log := &logtest.Log{}
		client := mesh.Node(link.Config{Logger: log.Logger()})
		if _, err := pipeline.Push(t.Context(), client, receipts, order{}); err != nil {
			t.Fatal(err)
		}
		sleep(4 * time.Second)
		if log.Has("level=WARN") {
			t.Errorf("it is said at once:\n%s", log)
		}
		sleep(time.Minute)
		if n := log.Count("level=WARN"); n != 1 || !log.Has("workers do not take a queue's tasks", "workers=5") {
			t.Errorf("said %d times, want once of 5 workers:\n%s", n, log)
		}
	})
}

// TestAQueueOfWhichALaterRunIsKnownSaysSo checks that a queue logs that a worker refuses it because it has
// seen a later run of the queue, and that the queue retries slowly.
func TestAQueueOfWhichALaterRunIsKnownSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		w := mesh.Node(link.Config{Service: "mailer"})
		var asked atomic.Int64
		link.HostOf(w).Handle(receipts.Route(), func(context.Context, *link.Stream) error {
			asked.Add(1)
			return link.Errorf(link.Aborted, "a later run of the queue was here already")
		})
		mesh.Start(w)
		log := &logtest.Log{}
		enqueue(t, producer(t, mesh.Node(link.Config{Logger: log.Logger()})), 1)
		sleep(2 * time.Second)
		if n := asked.Load(); n != 1 {
			t.Errorf("it was asked %d times in 2 s, want once", n)
		}
		sleep(20 * time.Second)
		if n := log.Count("workers do not take a queue's tasks"); n != 1 || !log.Has("a later run of the queue was here already") {
			t.Errorf("said %d times, want once with the reason:\n%s", n, log)
		}
	})
}
