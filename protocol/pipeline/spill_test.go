package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/wal"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
)

// TestWhatIsSpilledGoesOnInADurableQueue has two queues in memory spill to one folder, one after
// the other, and a durable queue continue with their tasks in order.
func TestWhatIsSpilledGoesOnInADurableQueue(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		client := mesh.Node(link.Config{})
		for i := range 2 {
			p := producer(t, client, pipeline.Spill(dir))
			for k := range 10 {
				if _, err := p.Enqueue(t.Context(), order{ID: fmt.Sprint(10*i + k)}, pipeline.Key("k")); err != nil {
					t.Fatal(err)
				}
			}
			left, err := p.Close()
			if err != nil || len(left) != 10 || !left[0].Kept {
				t.Fatalf("%d tasks are left, %v", len(left), err)
			}
		}
		var done []string
		worker(t, mesh, func(_ context.Context, o order) error { done = append(done, o.ID); return nil })
		p := producer(t, client, pipeline.Durable(dir))
		if left, err := p.Drain(t.Context()); err != nil || len(left) != 0 {
			t.Fatalf("%d tasks are left, %v", len(left), err)
		}
		for i, id := range done {
			if id != fmt.Sprint(i) {
				t.Fatalf("done in the order %v", done)
			}
		}
		if len(done) != 20 {
			t.Errorf("%d tasks were done, want 20", len(done))
		}
	})
}

// TestMoreIsSpilledThanASegmentHolds spills more than a segment of the log holds. A queue in memory may
// have four times as much.
func TestMoreIsSpilledThanASegmentHolds(t *testing.T) {
	const tasks, size = 17, 4<<20 - 1<<10
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		client := linktest.NewMesh(t).Node(link.Config{})
		p := producer(t, client, pipeline.Spill(dir))
		enqueueLarge(t, p, tasks, size)
		left, err := p.Close()
		if err != nil || len(left) != tasks {
			t.Fatalf("%d tasks are left, %v", len(left), err)
		}
		for i, u := range left {
			if !u.Kept {
				t.Errorf("task %d is lost", i)
			}
		}
		d := producer(t, client, pipeline.Durable(dir))
		if n := d.Stats().Depth; n != tasks {
			t.Errorf("%d tasks go on, want %d", n, tasks)
		}
	})
}

// TestADiskThatFillsWhileTasksAreSpilled checks that the oldest tasks are kept, and that the list of
// unfinished tasks says which.
func TestADiskThatFillsWhileTasksAreSpilled(t *testing.T) {
	// Each task is an append of its own.
	const tasks, room = 6, 4
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		client := linktest.NewMesh(t).Node(link.Config{})
		var faults pipeline.Faults
		p := producer(t, client, faults.SpillOn(dir))
		enqueueLarge(t, p, tasks, 2<<20)
		faults.SetAfter(room, wal.ErrNoSpace, pipeline.RecordTask)
		left, err := p.Close()
		if !errors.Is(err, link.DataLoss) || !errors.Is(err, wal.ErrNoSpace) || len(left) != tasks {
			t.Fatalf("%d tasks are left, %v", len(left), err)
		}
		var want []string
		for i, u := range left {
			if u.Kept != (i < room) || u.MayBe {
				t.Errorf("task %d: kept %v, may be %v", i, u.Kept, u.MayBe)
			}
			if u.Kept {
				want = append(want, u.ID)
			}
		}
		d := producer(t, client, pipeline.Durable(dir))
		again, err := d.Close()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, u := range again {
			got = append(got, u.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v go on, want %v", got, want)
		}
	})
}

// enqueueLarge pushes n tasks of about size bytes.
func enqueueLarge(t *testing.T, p *pipeline.Producer[order, pipeline.None], n, size int) {
	t.Helper()
	large := strings.Repeat("x", size)
	for range n {
		if _, err := p.Enqueue(t.Context(), order{ID: large}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFolderThatCannotBeSpilledTo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		p := producer(t, mesh.Node(link.Config{}), pipeline.Spill(file))
		if _, err := p.Enqueue(t.Context(), order{ID: "1"}); err != nil {
			t.Fatal(err)
		}
		left, err := p.Close()
		if !errors.Is(err, link.FailedPrecondition) || len(left) != 1 || left[0].Kept {
			t.Errorf("%d tasks are left, kept %v, %v", len(left), len(left) == 1 && left[0].Kept, err)
		}
	})
}

// TestASpilledQueueIsKnownToItsWorkers checks that workers recognize the tasks of a spilled queue
// by their numbers: tasks that they have done are not mistaken for those that are left, and tasks
// that they run are not done twice. A folder that a durable queue has used can be spilled to again.
func TestASpilledQueueIsKnownToItsWorkers(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var done tally
		worker(t, mesh, func(_ context.Context, o order) error { sleep(time.Second); done.add(o.ID); return nil }, pipeline.Concurrency(4))
		client := mesh.Node(link.Config{})
		p := producer(t, client, pipeline.Spill(dir))
		all := enqueue(t, p, 12)
		// Four tasks are done then, and four run.
		sleep(1500 * time.Millisecond)
		if left, err := p.Close(); err != nil || len(left) != 8 || !left[0].Kept {
			t.Fatalf("%d tasks are left, %v", len(left), err)
		}
		if o := all[0].Outcome(); o.End != pipeline.EndAcked {
			t.Fatalf("outcome %+v", o)
		}
		d := producer(t, client, pipeline.Durable(dir))
		if _, err := d.Enqueue(t.Context(), order{ID: "named"}, pipeline.ID("named")); err != nil {
			t.Fatal(err)
		}
		if left, err := d.Drain(t.Context()); err != nil || len(left) != 0 {
			t.Fatalf("%d tasks are left, %v", len(left), err)
		}
		for i := range 12 {
			if n := done.count(fmt.Sprint(i)); n != 1 {
				t.Errorf("task %d was done %d times", i, n)
			}
		}
		p = producer(t, client, pipeline.Spill(dir))
		enqueue(t, p, 1, pipeline.Delay(time.Hour))
		if left, err := p.Close(); err != nil || len(left) != 1 || !left[0].Kept {
			t.Errorf("the second time %d tasks are left, %v", len(left), err)
		}
	})
}
