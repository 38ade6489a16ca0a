package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/internal/logtest"
	"github.com/linkmesh/link/protocol/pipeline"
)

// shop runs a node that queues 40 tasks and is then told to stop, as by SIGTERM. It returns
// the tasks and the error of Run.
func shop(t *testing.T, mesh *linktest.Mesh, cfg link.Config) ([]*pipeline.Future[pipeline.None], error) {
	t.Helper()
	cfg.Service = "shop"
	node := mesh.Node(cfg)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- node.Run(ctx) }()
	<-node.Ready()
	var all []*pipeline.Future[pipeline.None]
	for i := range 40 {
		f, err := pipeline.Enqueue(t.Context(), node, receipts, order{ID: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	sleep(300 * time.Millisecond)
	stop()
	return all, <-ran
}

// TestANodeThatDrainsHasItsTasksDone checks that a node that drains waits until the tasks that
// it has queued are done, although the program does not ask for that.
func TestANodeThatDrainsHasItsTasksDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		var done tally
		worker(t, mesh, func(_ context.Context, o order) error { sleep(100 * time.Millisecond); done.add(o.ID); return nil }, pipeline.Concurrency(4))
		all, err := shop(t, mesh, link.Config{})
		if err != nil {
			t.Errorf("Run returned %v", err)
		}
		for i, f := range all {
			if o := f.Outcome(); o.End != pipeline.EndAcked || done.count(fmt.Sprint(i)) != 1 {
				t.Errorf("task %d: %+v, done %d times", i, o, done.count(fmt.Sprint(i)))
			}
		}
	})
}

// TestTasksThatADrainHasNoTimeForAreTold checks that Run, the log and the futures report the
// tasks that a drain had no time for.
func TestTasksThatADrainHasNoTimeForAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		worker(t, mesh, func(context.Context, order) error { sleep(time.Second); return nil }, pipeline.Concurrency(4))
		var log logtest.Log
		all, err := shop(t, mesh, link.Config{Limits: link.Limits{DrainTimeout: 3 * time.Second}, Logger: log.Logger()})
		returned := 0
		for _, f := range all {
			if f.Outcome().End == pipeline.EndReturned {
				returned++
			}
		}
		if returned == 0 || returned == len(all) {
			t.Fatalf("%d of %d tasks were returned, want some", returned, len(all))
		}
		if want := fmt.Sprintf("%d tasks in memory", returned); !errors.Is(err, link.DeadlineExceeded) || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("Run returned %v, want %q", err, want)
		}
		if !log.Has(fmt.Sprintf("tasks=%d ", returned)) {
			t.Errorf("the log does not say that %d tasks were returned: %s", returned, log.String())
		}
	})
}

// TestCloseLogsWhatItThrowsAway checks that closing a node or a queue logs the unfinished tasks.
func TestCloseLogsWhatItThrowsAway(t *testing.T) {
	dir := folder(t)
	for name, c := range map[string]struct {
		opts []pipeline.QueueOption
		text string
		node bool
	}{
		"a node":           {nil, "tasks=3 begun=0 kept=0", true},
		"a queue":          {nil, "tasks=3 begun=0 kept=0", false},
		"one that spills":  {[]pipeline.QueueOption{pipeline.Spill(dir + "1")}, "tasks=3 begun=0 kept=3", true},
		"one that is kept": {[]pipeline.QueueOption{pipeline.Durable(dir + "2")}, "tasks=3 begun=0 kept=3", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log logtest.Log
				node := linktest.NewMesh(t).Node(link.Config{Logger: log.Logger()})
				p := producer(t, node, c.opts...)
				all := enqueue(t, p, 3)
				var err error
				if c.node {
					err = node.Close()
				} else {
					_, err = p.Close()
				}
				if err != nil || !log.Has(c.text) {
					t.Errorf("%v; the log lacks %q: %s", err, c.text, log.String())
				}
				if o := all[0].Outcome(); (o.End == pipeline.EndKept) != (len(c.opts) > 0 && name == "one that is kept") {
					t.Errorf("outcome %+v", o)
				}
			})
		})
	}
}

// TestADrainTakesTheTasksOfHandlersThatStillRun checks that a drain closes the queues only after
// the running handlers have returned, so that they can still push tasks.
func TestADrainTakesTheTasksOfHandlersThatStillRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		var done tally
		worker(t, mesh, func(_ context.Context, o order) error { done.add(o.ID); return nil })
		place := link.Route{Service: "shop", Name: "place", Kind: link.KindMethod}
		node := mesh.Node(link.Config{Service: "shop"})
		began := make(chan struct{})
		link.HostOf(node).HandleCall(place, link.CallHandler{
			New: func() any { return &order{} },
			Serve: func(ctx context.Context, v any) (any, error) {
				close(began)
				sleep(2 * time.Second)
				o, _ := v.(*order)
				_, err := pipeline.Enqueue(ctx, node, receipts, *o)
				return v, err
			},
		})
		mesh.Start(node)
		placed := make(chan error, 1)
		client := mesh.Node(link.Config{})
		go func() { placed <- link.HostOf(client).Call(t.Context(), place, &order{ID: "late"}, &order{}) }()
		<-began
		if err := node.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-placed; err != nil || done.count("late") != 1 {
			t.Errorf("placed: %v; its task was done %d times", err, done.count("late"))
		}
	})
}

// TestANodeThatIsItsOnlyWorkerHasItsTasksDone checks that a draining node first does its own
// tasks, including those that failed once and those that handlers of its tasks push to its other
// stages. The tasks of other producers are given back at once.
func TestANodeThatIsItsOnlyWorkerHasItsTasksDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		var log logtest.Log
		node := mesh.Node(link.Config{Service: "mailer", Logger: log.Logger()})
		copies := pipeline.NewStage[order, pipeline.None]("mailer", "copies")
		var done, copied, theirs tally
		pipeline.Pull(node, receipts, pipeline.NoResult(func(ctx context.Context, o order) error {
			sleep(100 * time.Millisecond)
			if o.Cents > 0 {
				theirs.add(o.ID)
				return nil
			}
			if done.add(o.ID); o.ID == "7" && done.count("7") == 1 {
				return errors.New("once")
			}
			_, err := pipeline.Enqueue(ctx, node, copies, o)
			return err
		}), pipeline.Concurrency(2))
		pipeline.Pull(node, copies, pipeline.NoResult(func(_ context.Context, o order) error { sleep(50 * time.Millisecond); copied.add(o.ID); return nil }), pipeline.Concurrency(1))
		ctx, stop := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- node.Run(ctx) }()
		<-node.Ready()
		// This connects the queue of copies to its worker.
		if _, err := pipeline.Push(t.Context(), node, copies, order{ID: "first"}); err != nil {
			t.Fatal(err)
		}
		other := producer(t, mesh.Node(link.Config{}))
		var all []*pipeline.Future[pipeline.None]
		for i := range 40 {
			f, err := pipeline.Enqueue(t.Context(), node, receipts, order{ID: fmt.Sprint(i)})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, f)
			if _, err := other.Enqueue(t.Context(), order{ID: fmt.Sprint("other", i), Cents: 1}); err != nil {
				t.Fatal(err)
			}
		}
		sleep(150 * time.Millisecond)
		stop()
		if err := <-ran; err != nil {
			t.Errorf("Run returned %v", err)
		}
		for i, f := range all {
			if o := f.Outcome(); o.End != pipeline.EndAcked || copied.count(fmt.Sprint(i)) != 1 {
				t.Errorf("task %d: %+v, what came of it was done %d times", i, o, copied.count(fmt.Sprint(i)))
			}
		}
		if n := len(theirs.runs); n == 40 {
			t.Errorf("all tasks of the other producer were done, want the most given back")
		}
		if log.Has("level=WARN") {
			t.Errorf("the log:\n%s", log.String())
		}
	})
}

// TestADrainTakesNoTasksOfOthersAtItsEnd checks that only handlers of tasks may push while a
// drain waits for the queues. Other pushes could keep it from ever ending.
func TestADrainTakesNoTasksOfOthersAtItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		worker(t, mesh, func(context.Context, order) error { sleep(time.Second); return nil }, pipeline.Concurrency(1))
		node := mesh.Node(link.Config{Service: "shop"})
		mesh.Start(node)
		p := producer(t, node)
		enqueue(t, p, 5)
		pushed := make(chan error, 1)
		go func() {
			for {
				if _, err := p.Enqueue(context.WithoutCancel(t.Context()), order{}); err != nil {
					pushed <- err
					return
				}
				sleep(900 * time.Millisecond)
			}
		}()
		sleep(time.Millisecond)
		if err := node.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-pushed; !errors.Is(err, link.Unavailable) {
			t.Errorf("a push meanwhile: %v, want unavailable", err)
		}
	})
}

// TestADrainReachesTheOwnWorkerOfAStage checks that a draining node reaches its own worker of a
// stage that it has not pushed to before, or whose queue it has just made, although discovery no
// longer lists the node.
func TestADrainReachesTheOwnWorkerOfAStage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		node := mesh.Node(link.Config{Service: "mailer", Limits: link.Limits{DrainTimeout: time.Minute}})
		stages := []pipeline.Stage[order, pipeline.None]{receipts, pipeline.NewStage[order, pipeline.None]("mailer", "copies"), pipeline.NewStage[order, pipeline.None]("mailer", "archive")}
		done := make([]tally, len(stages))
		for i, stage := range stages {
			pipeline.Pull(node, stage, pipeline.NoResult(func(ctx context.Context, o order) error {
				sleep(100 * time.Millisecond)
				if done[i].add(o.ID); i+1 == len(stages) {
					return nil
				}
				_, err := pipeline.Enqueue(ctx, node, stages[i+1], o)
				return err
			}), pipeline.Concurrency(2))
		}
		ctx, stop := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- node.Run(ctx) }()
		<-node.Ready()
		var all []*pipeline.Future[pipeline.None]
		for i := range 10 {
			f, err := pipeline.Enqueue(t.Context(), node, receipts, order{ID: fmt.Sprint(i)})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, f)
		}
		// The queue has no stream yet.
		stop()
		if err := <-ran; err != nil {
			t.Errorf("Run returned %v", err)
		}
		for i, f := range all {
			if o := f.Outcome(); o.End != pipeline.EndAcked {
				t.Errorf("task %d: %+v", i, o)
			}
			for s := range done {
				if n := done[s].count(fmt.Sprint(i)); n != 1 {
					t.Errorf("task %d was done %d times in %v", i, n, stages[s])
				}
			}
		}
	})
}
