//go:build unix

package pipeline_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/child"
	"github.com/linkmesh/link/protocol/pipeline"
	"github.com/linkmesh/link/security"
)

// TestTasksOfProcessesThatAreGoneAreDone checks that another worker does the tasks of two processes: first the
// task of one that is killed, since its host says that it is gone, and then the task of one that is frozen at the
// same moment. A fixed list shows both forever.
func TestTasksOfProcessesThatAreGoneAreDone(t *testing.T) {
	t.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
	release := make(chan struct{})
	type run struct {
		attempt int
		at      time.Time
	}
	runs := make(chan run, 3)
	spare, err := near("mailer")
	if err != nil {
		t.Fatal(err)
	}
	pipeline.Pull(spare, receipts, pipeline.NoResult(func(ctx context.Context, _ order) error {
		runs <- run{pipeline.TaskOf(ctx).Attempt, time.Now()}
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}), pipeline.Concurrency(1))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- spare.Run(ctx) }()
	<-spare.Ready()
	killed, frozen := child.Start(t, works), child.Start(t, works)
	client, err := near("",
		discovery.Instance{ID: "spare", Service: "mailer", Addr: spare.Addr()},
		discovery.Instance{ID: "killed", Service: "mailer", Addr: killed.Says("up")},
		discovery.Instance{ID: "frozen", Service: "mailer", Addr: frozen.Says("up")})
	if err != nil {
		t.Fatal(err)
	}
	p, err := pipeline.NewProducer(client, receipts)
	if err != nil {
		t.Fatal(err)
	}
	futures := make(map[string]*pipeline.Future[pipeline.None])
	for _, id := range []string{"a", "b", "c"} {
		if futures[id], err = p.Enqueue(t.Context(), order{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	// Each worker has one task.
	<-runs
	ofKilled, ofFrozen := killed.Says("began"), frozen.Says("began")
	close(release)
	frozen.Freeze()
	killed.Kill()
	died := time.Now()
	var attempts []int
	for what := range slices.Values([]string{ofKilled, ofFrozen}) {
		again := <-runs
		attempts = append(attempts, again.attempt)
		if _, err := futures[what].Wait(t.Context()); err != nil {
			t.Errorf("task %s: %v", what, err)
		}
		o := futures[what].Outcome()
		t.Logf("task %s ran again after %v; %v", what, again.at.Sub(died).Round(time.Millisecond), o.History)
		if what == ofKilled && futures[ofFrozen].Outcome().End != pipeline.EndOpen {
			t.Errorf("the task of the worker that is frozen has ended first: %+v", futures[ofFrozen].Outcome())
		}
	}
	if fmt.Sprint(attempts) != "[2 2]" {
		t.Errorf("attempts %v, want [2 2]", attempts)
	}
	if cause := futures[ofKilled].Outcome().History[0].Cause; cause != "the process of the worker is gone" {
		t.Errorf("the worker that was killed failed because %q", cause)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
