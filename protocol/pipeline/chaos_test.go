package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
)

// TestChaos runs the nodes of a mesh while some are killed, cut off, slow or drained and
// producers are restarted, by a random schedule under virtual time. The engines have a model
// test with many more schedules; this test runs them within all of link.
func TestChaos(t *testing.T) {
	seeds := race.Fewer(8, 2)
	if testing.Short() {
		seeds = 2
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			dir := folder(t)
			synctest.Test(t, func(t *testing.T) { chaos(t, rand.New(rand.NewPCG(seed, 9)), dir) })
		})
	}
}

func chaos(t *testing.T, r *rand.Rand, dir string) {
	t.Helper()
	mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond), linktest.Loss(0.005), linktest.Seed(r.Uint64()))
	var mu sync.Mutex // guards the fields below
	ran := map[string]int{}
	dice := rand.New(rand.NewPCG(r.Uint64(), 1))
	roll := func(n int) bool { mu.Lock(); defer mu.Unlock(); return dice.IntN(n) == 0 }
	calm := false
	hire := func() *link.Node {
		slow := time.Millisecond
		if roll(4) {
			slow = 20 * time.Millisecond
		}
		return worker(t, mesh, func(ctx context.Context, o order) error {
			select {
			case <-time.After(slow):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			mu.Lock()
			quiet := calm
			mu.Unlock()
			switch {
			case quiet:
			case roll(30):
				return errors.New("chance")
			case roll(60):
				return pipeline.Release("chance")
			case roll(200):
				panic("chance") //nolint:forbidigo // what is tested
			case roll(300):
				// The handler hangs.
				<-ctx.Done()
				return ctx.Err()
			}
			mu.Lock()
			defer mu.Unlock()
			ran[o.ID]++
			return nil
		}, pipeline.Concurrency(4), pipeline.MaxRun(20*time.Second))
	}
	workers := []*link.Node{hire(), hire(), hire()}
	client := mesh.Node(link.Config{})
	memory := producer(t, client)
	disk := mesh.Node(link.Config{})
	durable := producer(t, disk, pipeline.Durable(dir, pipeline.GroupCommit))
	var futures []*pipeline.Future[pipeline.None]
	// accepted holds the IDs of the tasks that are on disk.
	accepted := map[string]bool{}
	next := 0
	for range 60 {
		for range 1 + r.IntN(20) {
			next++
			f, err := memory.Enqueue(t.Context(), order{ID: fmt.Sprint("m", next)})
			if err != nil {
				t.Fatal(err)
			}
			futures = append(futures, f)
			if _, err := durable.Enqueue(t.Context(), order{ID: fmt.Sprint("d", next)}); err != nil {
				t.Fatal(err)
			}
			accepted[fmt.Sprint("d", next)] = true
		}
		i := r.IntN(len(workers))
		switch r.IntN(10) {
		case 0:
			mesh.Kill(workers[i])
			workers[i] = hire()
		case 1:
			mesh.Stop(workers[i])
			workers[i] = hire()
		case 2:
			mesh.Partition(client, workers[i])
			mesh.Partition(disk, workers[i])
		case 3, 4:
			for _, w := range workers {
				mesh.Heal(client, w)
				mesh.Heal(disk, w)
			}
		case 5:
			if _, err := durable.Close(); err != nil {
				t.Fatal(err)
			}
			if r.IntN(2) == 0 {
				if err := disk.Close(); err != nil {
					t.Fatal(err)
				}
				disk = mesh.Node(link.Config{})
			}
			durable = producer(t, disk, pipeline.Durable(dir, pipeline.GroupCommit))
		}
		sleep(time.Duration(r.Int64N(int64(3 * time.Second))))
	}
	mu.Lock()
	calm = true
	mu.Unlock()
	for _, w := range workers {
		mesh.Heal(client, w)
		mesh.Heal(disk, w)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Hour)
	defer cancel()
	for _, p := range []*pipeline.Producer[order, pipeline.None]{memory, durable} {
		if left, err := p.Drain(ctx); len(left) != 0 || err != nil {
			t.Errorf("%d tasks do not end, %v: %+v", len(left), err, p.Stats())
		}
	}
	mu.Lock()
	defer mu.Unlock()
	again, dead := 0, 0
	for i, f := range futures {
		switch o := f.Outcome(); o.End {
		case pipeline.EndAcked:
		case pipeline.EndDeadLettered:
			dead++
		default:
			t.Errorf("task %d ended as %v: %+v", i, o.End, o)
		}
	}
	lost := 0
	for id := range accepted {
		if ran[id] == 0 {
			lost++
		}
		if ran[id] > 1 {
			again++
		}
	}
	if kept := len(durable.DeadLetters()); lost > kept {
		t.Errorf("%d durable tasks were not done, and %d are dead letters", lost, kept)
	}
	t.Logf("%d tasks each in memory and on disk, %d and %d dead letters, %d of those on disk ran more than once", next, dead, len(durable.DeadLetters()), again)
}
