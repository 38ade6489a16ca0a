package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/smalldisk"
	"github.com/linkmesh/link/internal/wal"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
)

// TestAQueueOnADiskThatIsReallyFull runs a queue on a disk that the queue has filled, and then on
// one that another program has filled. Pushes must fail at once and say why, the queue must open
// and drain, no accepted task may be lost, and pushes must succeed when there is room again, even
// if only the drained tasks made it.
func TestAQueueOnADiskThatIsReallyFull(t *testing.T) {
	const size = 6 << 20
	smalldisk.Run(t, size, func(t *testing.T, disk smalldisk.Disk) {
		t.Helper()
		f := filler{body: string(make([]byte, 16<<10)), most: 2 * size, dir: filepath.Join(disk.Dir, "queue")}
		synctest.Test(t, func(t *testing.T) {
			f.mesh = linktest.NewMesh(t)
			p := f.open(t)
			f.fill(t, p)
			first := f.accepted
			closeQueue(t, p)
			p = f.open(t)
			if s := p.Stats(); s.Depth != first {
				t.Errorf("%d tasks were accepted, %d are there when the queue is opened on the full disk", first, s.Depth)
			}
			f.empty(t, p)
			// The drained tasks make room.
			f.awaitRoom(t, p)
			f.fill(t, p)
			free := disk.Fill(t)
			f.empty(t, p)
			free()
			f.awaitRoom(t, p)
			f.work(t)
			if left, err := p.Drain(t.Context()); len(left) != 0 || err != nil {
				t.Errorf("%d left, %v", len(left), err)
			}
			for i := range f.accepted {
				if f.done.count(fmt.Sprint(i)) == 0 {
					t.Errorf("task %d was accepted and not done", i)
				}
			}
			if s := f.open(t).Stats(); s.Depth != 0 {
				t.Errorf("opened again: %+v", s)
			}
			t.Logf("%d tasks until the disk was full, %d in all", first, f.accepted)
		})
	})
}

// filler pushes tasks until its disk is full.
type filler struct {
	mesh *linktest.Mesh
	dir  string
	body string
	// most is a number of bytes of bodies for which the disk has no room.
	most     int
	accepted int
	done     tally
}

// work starts a worker.
func (f *filler) work(t *testing.T) *link.Node {
	t.Helper()
	return worker(t, f.mesh, func(_ context.Context, o order) error { f.done.add(o.ID[len(f.body):]); return nil })
}

func (f *filler) open(t *testing.T) *pipeline.Producer[order, pipeline.None] {
	t.Helper()
	return producer(t, f.mesh.Node(link.Config{}), pipeline.Durable(f.dir), pipeline.SyncEnds())
}

// push pushes one task. It reports whether there was room.
func (f *filler) push(t *testing.T, p *pipeline.Producer[order, pipeline.None]) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	began := time.Now()
	_, err := p.Enqueue(ctx, order{ID: f.body + fmt.Sprint(f.accepted)})
	if err == nil {
		f.accepted++
		return true
	}
	if !errors.Is(err, link.ResourceExhausted) || !errors.Is(err, wal.ErrNoSpace) || time.Since(began) > time.Second {
		t.Fatalf("push %d on a full disk: %v after %v", f.accepted, err, time.Since(began))
	}
	return false
}

// fill pushes until there is no room.
func (f *filler) fill(t *testing.T, p *pipeline.Producer[order, pipeline.None]) {
	t.Helper()
	for n := 0; f.push(t, p); n++ {
		if n > f.most/len(f.body) {
			t.Fatalf("%d tasks were accepted on a disk for %d", n, f.most/len(f.body))
		}
	}
}

// awaitRoom pushes until there is room again.
func (f *filler) awaitRoom(t *testing.T, p *pipeline.Producer[order, pipeline.None]) {
	t.Helper()
	for tries := 0; !f.push(t, p); tries++ {
		if sleep(time.Second); tries > 60 {
			t.Fatalf("there is no room again: %+v", p.Stats())
		}
	}
}

// empty has a worker do all tasks.
func (f *filler) empty(t *testing.T, p *pipeline.Producer[order, pipeline.None]) {
	t.Helper()
	node := f.work(t)
	for tries := 0; p.Stats().Depth > 0; tries++ {
		if sleep(time.Second); tries > 60 {
			t.Fatalf("the queue is not empty: %+v", p.Stats())
		}
	}
	if err := node.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
