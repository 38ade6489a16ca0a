package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
)

type order struct {
	ID    string
	Cents int64
}

var (
	receipts = pipeline.NewStage[order, pipeline.None]("mailer", "receipts")
	totals   = pipeline.NewStage[order, int64]("mailer", "totals")
)

// worker starts a node that pulls receipts.
func worker(t *testing.T, mesh *linktest.Mesh, f func(ctx context.Context, o order) error, opts ...pipeline.PullOption) *link.Node {
	t.Helper()
	node := mesh.Node(link.Config{Service: "mailer"})
	pipeline.Pull(node, receipts, pipeline.NoResult(f), opts...)
	mesh.Start(node)
	return node
}

// tally counts how often handlers did each task.
type tally struct {
	mu   sync.Mutex // guards the field below
	runs map[string]int
}

func (c *tally) add(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.runs == nil {
		c.runs = make(map[string]int)
	}
	c.runs[id]++
}

func (c *tally) count(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.runs[id]
}

func TestPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(5*time.Millisecond))
		var done tally
		worker(t, mesh, func(_ context.Context, o order) error { done.add(o.ID); return nil })
		client := mesh.Node(link.Config{})
		var pushes sync.WaitGroup
		for i := range 500 {
			pushes.Go(func() {
				if _, err := pipeline.Push(t.Context(), client, receipts, order{ID: fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
			})
		}
		pushes.Wait()
		for i := range 500 {
			if n := done.count(fmt.Sprint(i)); n != 1 {
				t.Errorf("task %d ran %d times", i, n)
			}
		}
	})
}

func TestResultsAndFutures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := mesh.Node(link.Config{Service: "mailer"})
		pipeline.Pull(node, totals, func(_ context.Context, o order) (int64, error) {
			if o.Cents < 0 {
				return 0, pipeline.Reject(errors.New("negative"))
			}
			return 2 * o.Cents, nil
		})
		mesh.Start(node)
		client := mesh.Node(link.Config{})
		if got, err := pipeline.Push(t.Context(), client, totals, order{Cents: 21}); got != 42 || err != nil {
			t.Errorf("got %d, %v", got, err)
		}
		f, err := pipeline.Enqueue(t.Context(), client, totals, order{Cents: 4})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := f.Wait(t.Context()); got != 8 || err != nil {
			t.Errorf("got %d, %v", got, err)
		}
		if o := f.Outcome(); o.End != pipeline.EndAcked || o.Worker != node.Instance() || o.Attempts != 1 {
			t.Errorf("outcome %+v", o)
		}
		if _, err := pipeline.Push(t.Context(), client, totals, order{Cents: -1}); !errors.Is(err, link.Aborted) {
			t.Errorf("a rejected task: %v, want aborted", err)
		}
	})
}

// TestResultsAreForThoseWhoDeclareThem has producers that declare a stage with results, and one without, in the
// other way than its worker.
func TestResultsAreForThoseWhoDeclareThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := mesh.Node(link.Config{Service: "mailer"})
		pipeline.Pull(node, receipts, pipeline.NoResult(func(context.Context, order) error { return nil }))
		pipeline.Pull(node, totals, func(_ context.Context, o order) (int64, error) { return 2 * o.Cents, nil })
		mesh.Start(node)
		client := mesh.Node(link.Config{})
		if _, err := pipeline.Push(t.Context(), client, pipeline.NewStage[order, pipeline.None]("mailer", "totals"), order{Cents: 21}); err != nil {
			t.Errorf("who wants no result: %v", err)
		}
		f, err := pipeline.Enqueue(t.Context(), client, pipeline.NewStage[order, int64]("mailer", "receipts"), order{Cents: 21})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := f.Wait(t.Context()); !errors.Is(err, link.Internal) || f.Outcome().End != pipeline.EndAcked {
			t.Errorf("who wants a result that the worker does not have: %d, %v, %+v", got, err, f.Outcome())
		}
	})
}

// TestAWorkerWithoutAHandlerIsRefused checks that a nil handler panics at once, and not for each task.
func TestAWorkerWithoutAHandlerIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := linktest.NewMesh(t).Node(link.Config{Service: "post"})
		stage, results := pipeline.NewStage[int, pipeline.None]("post", "letters"), pipeline.NewStage[int, int]("post", "count")
		for name, pull := range map[string]func(){
			"Pull without results": func() { pipeline.Pull(node, stage, nil) },
			"Pull with results":    func() { pipeline.Pull(node, results, nil) },
			"NoResult":             func() { pipeline.Pull(node, stage, pipeline.NoResult[int](nil)) },
			"PullBatch":            func() { pipeline.PullBatch(node, stage, nil) },
			"Through":              func() { pipeline.Through[int, int](node, stage, results, nil) },
		} {
			func() {
				defer func() {
					if err, ok := recover().(error); !ok || !errors.Is(err, link.InvalidArgument) || !strings.Contains(err.Error(), "is nil") {
						t.Errorf("%s: %v, want a panic that says what is nil", name, err)
					}
				}()
				pull()
			}()
		}
	})
}
