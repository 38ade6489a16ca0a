package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/wal"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/internal/logtest"
	"github.com/linkmesh/link/protocol/pipeline"
)

// fenced is a mesh with a worker that reports the fences of a task that is never done, and the folder
// of the task's queue.
type fenced struct {
	mesh   *linktest.Mesh
	dir    string
	fences chan uint64
	last   uint64
}

func newFenced(t *testing.T, dir string) *fenced {
	t.Helper()
	f := &fenced{mesh: linktest.NewMesh(t), dir: dir, fences: make(chan uint64, 1000)}
	worker(t, f.mesh, func(ctx context.Context, _ order) error {
		f.fences <- pipeline.TaskOf(ctx).Fence
		return pipeline.Retry(10*time.Second, errors.New("not yet"))
	})
	return f
}

// open opens the queue on a disk with these faults, and with a clock that is set back.
func (f *fenced) open(t *testing.T, faults *pipeline.Faults, back time.Duration) *pipeline.Producer[order, pipeline.None] {
	t.Helper()
	return producer(t, f.mesh.Node(link.Config{}), faults.On(f.dir), pipeline.Attempts(1000), pipeline.SetBack(-back))
}

// look takes the fences of a run, each of which must be higher than the one before. given is whether
// there must be any.
func (f *fenced) look(t *testing.T, run int, given bool) {
	t.Helper()
	sleep(10 * time.Minute)
	if got := len(f.fences) > 0; got != given {
		t.Errorf("run %d: fences were given out: %v, want %v", run, got, given)
	}
	for len(f.fences) > 0 {
		fence := <-f.fences
		if fence <= f.last {
			t.Errorf("run %d: fence %d after %d", run, fence, f.last)
		}
		f.last = fence
	}
}

func fullForMeta() *pipeline.Faults {
	var faults pipeline.Faults
	faults.Set(fmt.Errorf("disk: %w", wal.ErrNoSpace), pipeline.RecordMeta, pipeline.RecordTask)
	return &faults
}

// TestNoFenceIsGivenTwiceOnAFullDisk has runs begin on a disk that is too full to write where their
// fences begin. The clock is set back at each run as well.
func TestNoFenceIsGivenTwiceOnAFullDisk(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		f := newFenced(t, dir)
		for run, full := range []bool{false, true, true, false, true, true, true, false} {
			faults := new(pipeline.Faults)
			if full {
				faults = fullForMeta()
			}
			p := f.open(t, faults, time.Duration(run)*5*time.Minute)
			if run == 0 {
				enqueue(t, p, 1)
			}
			f.look(t, run, true)
			closeQueue(t, p)
		}
	})
}

// TestAQueueWaitsForRoomRatherThanGiveAFenceTwice checks that a queue on a full disk sends nothing
// before there is room, if no more runs may begin without room or if it is not known how many did.
func TestAQueueWaitsForRoomRatherThanGiveAFenceTwice(t *testing.T) {
	for name, spend := range map[string]func(t *testing.T, f *fenced){
		"too many runs": func(t *testing.T, f *fenced) {
			t.Helper()
			for run := range pipeline.SpareFences {
				p := f.open(t, fullForMeta(), 0)
				if run == pipeline.SpareFences-1 {
					f.look(t, run, true)
				}
				closeQueue(t, p)
			}
		},
		"a file that was lost": func(t *testing.T, f *fenced) {
			t.Helper()
			if err := os.Remove(filepath.Join(f.dir, "fences")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t)
			synctest.Test(t, func(t *testing.T) {
				f := newFenced(t, dir)
				p := f.open(t, new(pipeline.Faults), 0)
				enqueue(t, p, 1)
				f.look(t, 0, true)
				closeQueue(t, p)
				spend(t, f)
				// Tasks that had come to the worker are over then.
				sleep(time.Minute)
				f.drop()
				faults := fullForMeta()
				p = f.open(t, faults, 0)
				f.look(t, 1, false)
				faults.Set(nil)
				f.look(t, 1, true)
				closeQueue(t, p)
				// The file has its full length again.
				p = f.open(t, fullForMeta(), 0)
				f.look(t, 2, true)
				closeQueue(t, p)
			})
		})
	}
}

// drop takes the fences of runs that the test did not look at.
func (f *fenced) drop() {
	for len(f.fences) > 0 {
		f.last = max(f.last, <-f.fences)
	}
}

// TestAQueueThatWaitsForRoomSaysSo checks that the log and the errors of pushes say that a queue waits
// for room.
func TestAQueueThatWaitsForRoomSaysSo(t *testing.T) {
	const why = "sends no task before its disk has room"
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		f := newFenced(t, dir)
		p := f.open(t, new(pipeline.Faults), 0)
		enqueue(t, p, 1)
		closeQueue(t, p)
		if err := os.Remove(filepath.Join(dir, "fences")); err != nil {
			t.Fatal(err)
		}
		f.drop()
		var log logtest.Log
		faults := fullForMeta()
		p = producer(t, f.mesh.Node(link.Config{Logger: log.Logger()}), faults.On(dir), pipeline.Attempts(1000))
		says(t, &log, 1, "level=WARN", "a durable queue "+why, dir)
		sleep(time.Minute)
		says(t, &log, 1, "level=WARN", "tasks wait", why)
		if _, err := p.TryPush(t.Context(), order{}, pipeline.FailFast()); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("a push that is not to wait: %v", err)
		}
		faults.Set(nil)
		f.look(t, 1, true)
		if _, err := p.TryPush(t.Context(), order{}, pipeline.FailFast()); err != nil {
			t.Errorf("a push when there is room: %v", err)
		}
	})
}

// TestFencesAreSpareAgainWhenRoomIsFound checks that a run that began without room restores the spare
// fences when there is room, as a run that begins with room does.
func TestFencesAreSpareAgainWhenRoomIsFound(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		f := newFenced(t, dir)
		closeQueue(t, f.open(t, new(pipeline.Faults), 0))
		spare := func() int64 {
			info, err := os.Stat(filepath.Join(dir, "fences"))
			if err != nil {
				t.Fatal(err)
			}
			return info.Size()
		}
		faults := fullForMeta()
		p := f.open(t, faults, 0)
		if n := spare(); n != pipeline.SpareFences-1 {
			t.Errorf("%d fences are spare when one is taken, want %d", n, pipeline.SpareFences-1)
		}
		faults.Set(nil)
		enqueue(t, p, 1)
		if n := spare(); n != pipeline.SpareFences {
			t.Errorf("%d fences are spare when there is room, want %d", n, pipeline.SpareFences)
		}
		f.look(t, 1, true)
		closeQueue(t, p)
		f.open(t, new(pipeline.Faults), 0)
		f.look(t, 2, true)
	})
}
