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
			synctest.Test(t, func(t *testing.T) {
				c := newChaos(t, rand.New(rand.NewPCG(seed, 9)), dir)
				for range 60 {
					c.push(1 + c.rand.IntN(20))
					c.disturb()
					sleep(time.Duration(c.rand.Int64N(int64(3 * time.Second))))
				}
				c.settle()
				c.check()
			})
		})
	}
}

// chaos is a mesh of three workers and two producers, one of them with its queue on disk.
type chaos struct {
	t    *testing.T
	mesh *linktest.Mesh
	rand *rand.Rand
	dir  string
	shop *moodyShop

	workers         []*link.Node
	client, disk    *link.Node
	memory, durable *pipeline.Producer[order, pipeline.None]
	// futures are those of the tasks in memory, accepted the IDs of the tasks that are on disk.
	futures  []*pipeline.Future[pipeline.None]
	accepted map[string]bool
	pushed   int
}

func newChaos(t *testing.T, r *rand.Rand, dir string) *chaos {
	t.Helper()
	c := &chaos{t: t, rand: r, dir: dir, accepted: make(map[string]bool)}
	c.mesh = linktest.NewMesh(t, linktest.Delay(time.Millisecond), linktest.Loss(0.005), linktest.Seed(r.Uint64()))
	c.shop = &moodyShop{dice: rand.New(rand.NewPCG(r.Uint64(), 1)), ran: make(map[string]int)}
	c.workers = []*link.Node{c.hire(), c.hire(), c.hire()}
	c.client, c.disk = c.mesh.Node(link.Config{}), c.mesh.Node(link.Config{})
	c.memory = producer(t, c.client)
	c.reopen()
	return c
}

// hire starts a worker.
func (c *chaos) hire() *link.Node {
	slow := time.Millisecond
	if c.shop.roll(4) {
		slow = 20 * time.Millisecond
	}
	work := func(ctx context.Context, o order) error { return c.shop.do(ctx, o, slow) }
	return worker(c.t, c.mesh, work, pipeline.Concurrency(4), pipeline.MaxRun(20*time.Second))
}

// reopen opens the queue on disk.
func (c *chaos) reopen() {
	c.durable = producer(c.t, c.disk, pipeline.Durable(c.dir))
}

// push pushes n tasks to each queue.
func (c *chaos) push(n int) {
	for range n {
		c.pushed++
		f, err := c.memory.Enqueue(c.t.Context(), order{ID: fmt.Sprint("m", c.pushed)})
		if err != nil {
			c.t.Fatal(err)
		}
		c.futures = append(c.futures, f)
		id := fmt.Sprint("d", c.pushed)
		if _, err := c.durable.Enqueue(c.t.Context(), order{ID: id}); err != nil {
			c.t.Fatal(err)
		}
		c.accepted[id] = true
	}
}

// disturb does one of the things that happen to a mesh, or nothing.
func (c *chaos) disturb() {
	i := c.rand.IntN(len(c.workers))
	switch c.rand.IntN(10) {
	case 0:
		c.mesh.Kill(c.workers[i])
		c.workers[i] = c.hire()
	case 1:
		c.mesh.Stop(c.workers[i])
		c.workers[i] = c.hire()
	case 2:
		c.mesh.Partition(c.client, c.workers[i])
		c.mesh.Partition(c.disk, c.workers[i])
	case 3, 4:
		c.heal()
	case 5:
		c.restart()
	}
}

func (c *chaos) heal() {
	for _, w := range c.workers {
		c.mesh.Heal(c.client, w)
		c.mesh.Heal(c.disk, w)
	}
}

// restart closes the queue on disk, and sometimes its node, and opens it again.
func (c *chaos) restart() {
	if _, err := c.durable.Close(); err != nil {
		c.t.Fatal(err)
	}
	if c.rand.IntN(2) == 0 {
		if err := c.disk.Close(); err != nil {
			c.t.Fatal(err)
		}
		c.disk = c.mesh.Node(link.Config{})
	}
	c.reopen()
}

// settle ends all disturbances and waits until all tasks have ended.
func (c *chaos) settle() {
	c.shop.rest()
	c.heal()
	ctx, cancel := context.WithTimeout(c.t.Context(), 3*time.Hour)
	defer cancel()
	for _, p := range []*pipeline.Producer[order, pipeline.None]{c.memory, c.durable} {
		if left, err := p.Drain(ctx); len(left) != 0 || err != nil {
			c.t.Errorf("%d tasks do not end, %v: %+v", len(left), err, p.Stats())
		}
	}
}

// check checks that each task was done or is a dead letter.
func (c *chaos) check() {
	dead := 0
	for i, f := range c.futures {
		switch o := f.Outcome(); o.End {
		case pipeline.EndAcked:
		case pipeline.EndDeadLettered:
			dead++
		default:
			c.t.Errorf("task %d ended as %v: %+v", i, o.End, o)
		}
	}
	lost, again := 0, 0
	for id := range c.accepted {
		switch n := c.shop.ran[id]; {
		case n == 0:
			lost++
		case n > 1:
			again++
		}
	}
	kept := len(c.durable.DeadLetters())
	if lost > kept {
		c.t.Errorf("%d durable tasks were not done, and %d are dead letters", lost, kept)
	}
	c.t.Logf("%d tasks each in memory and on disk, %d and %d dead letters, %d of those on disk ran more than once", c.pushed, dead, kept, again)
}

// moodyShop does tasks, but now and then it fails, gives one back, panics or hangs.
type moodyShop struct {
	mu   sync.Mutex // guards the fields below
	dice *rand.Rand
	calm bool
	// ran counts how often each task was done.
	ran map[string]int
}

// roll reports true once in n times.
func (s *moodyShop) roll(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dice.IntN(n) == 0
}

// rest ends the moods.
func (s *moodyShop) rest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calm = true
}

func (s *moodyShop) isCalm() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calm
}

// do does one task, which takes that long.
func (s *moodyShop) do(ctx context.Context, o order, takes time.Duration) error {
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	switch {
	case s.isCalm():
	case s.roll(30):
		return errors.New("chance")
	case s.roll(60):
		return pipeline.Release("chance")
	case s.roll(200):
		panic("chance") //nolint:forbidigo // what is tested
	case s.roll(300):
		// The handler hangs.
		<-ctx.Done()
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ran[o.ID]++
	return nil
}
