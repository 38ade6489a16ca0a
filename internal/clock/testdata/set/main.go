// Command set runs two servers and a client in one process, and sets the clock of the
// process while they communicate. It fails if that has any effect on them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/protocol/pipeline"
	"github.com/linkmesh/link/protocol/reqrep"
)

// most is the time after which an expected event counts as missing.
const most = 2 * time.Minute

type nothing struct{}

type task struct{ Fails bool }

var (
	work = pipeline.NewStage[task, pipeline.None]("orders", "work")
	// fences receives the fence of each completed task.
	fences = make(chan uint64, 1)
)

var read = reqrep.NewMethod[nothing, nothing]("orders", "get", link.ReadOnly)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ok")
}

func run() error {
	beginSetting()
	before := time.Now()
	setClock(time.Hour)
	if now := time.Now(); now.Round(0).Sub(before.Round(0)) < time.Hour || now.Sub(before) > most {
		return fmt.Errorf("the clock is not set: it was %v, it is %v", before, now)
	}
	setClock(0)

	registry, err := static.New()
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(context.Background(), most)
	ended := make(chan error, 2)
	var sick atomic.Bool
	for i := range 2 {
		node, err := start(ctx, registry, i == 0, &sick, ended)
		if err != nil {
			stop()
			return err
		}
		defer node.Close()
	}
	client, err := link.New(link.Config{Registry: registry, Logger: quiet()})
	if err != nil {
		stop()
		return err
	}
	err = errors.Join(check(ctx, client, &sick), checkFences(ctx, client), client.Close())
	stop()
	return errors.Join(err, <-ended, <-ended, registry.Close())
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// start starts a server. If maybe is set, its handler panics while sick is set.
func start(ctx context.Context, registry *static.Registry, maybe bool, sick *atomic.Bool, ended chan<- error) (*link.Node, error) {
	node, err := link.New(link.Config{Service: "orders", Addr: "127.0.0.1:0", Registry: registry, Logger: quiet()})
	if err != nil {
		return nil, err
	}
	pipeline.Pull(node, work, pipeline.NoResult(func(ctx context.Context, t task) error {
		if t.Fails {
			return pipeline.Reject(errors.New("as it was asked to"))
		}
		fences <- pipeline.TaskOf(ctx).Fence
		return nil
	}))
	reqrep.Handle(node, read, func(context.Context, nothing) (nothing, error) {
		if maybe && sick.Load() {
			panic("sick")
		}
		return nothing{}, nil
	})
	go func() { ended <- node.Run(ctx) }()
	select {
	case <-node.Ready():
		return node, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// check sets the clock while an instance is ejected. The ejection must neither end early nor last
// forever, and the connections must survive.
func check(ctx context.Context, client *link.Node, sick *atomic.Bool) error {
	connected := func() bool {
		s := client.Status()
		return len(s.Services) > 0 && s.Services[0].Connected == 2
	}
	if err := callUntil(ctx, client, connected); err != nil {
		return fmt.Errorf("two instances are not connected: %w", err)
	}
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		setClock(0)
		sick.Store(true)
		if err := callUntil(ctx, client, func() bool { return ejected(client) }); err != nil {
			return fmt.Errorf("no instance is ejected: %w", err)
		}
		setClock(by)
		if !ejected(client) {
			return fmt.Errorf("the clock was set by %v, and that ended the ejection of an instance", by)
		}
		sick.Store(false)
		if err := callUntil(ctx, client, func() bool { return !ejected(client) }); err != nil {
			return fmt.Errorf("the clock was set by %v, and the ejection of an instance that is well does not end: %w", by, err)
		}
		if n := client.Status().Services[0].Connected; n != 2 {
			return fmt.Errorf("the clock was set by %v, and of 2 connections there are %d", by, n)
		}
	}
	return nil
}

func ejected(client *link.Node) bool {
	s := client.Status()
	return len(s.Services) > 0 && s.Services[0].Ejected > 0
}

// callUntil makes calls until done returns true.
func callUntil(ctx context.Context, client *link.Node, done func() bool) error {
	pause := time.NewTicker(time.Millisecond)
	defer pause.Stop()
	for !done() {
		if _, err := reqrep.Call(ctx, client, read, nothing{}); err != nil && ctx.Err() != nil {
			return err
		}
		<-pause.C
	}
	return nil
}

// checkFences sets the clock back before it makes each queue of a stage. The fences of the tasks must
// still be higher than those of the queue before, in memory and on disk. The time of a dead letter
// must be the same, within most, after its queue is opened again.
func checkFences(ctx context.Context, client *link.Node) error {
	folder, err := os.MkdirTemp("", "link-clock-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	// last holds the last fences of durable and other queues, which are independent.
	last := make(map[bool]uint64)
	for i, durable := range []bool{false, false, true, true, false, true} {
		setClock(-time.Duration(i) * time.Hour)
		opts := []pipeline.QueueOption{pipeline.OnDeadLetter(func(pipeline.DeadLetter) {})}
		if durable {
			opts = append(opts, pipeline.Durable(folder), pipeline.SyncEnds())
		}
		p, err := pipeline.NewProducer(client, work, opts...)
		if err != nil {
			return err
		}
		if _, err := p.Push(ctx, task{}); err != nil {
			return err
		}
		fence := <-fences
		if fence <= last[durable] {
			return fmt.Errorf("queue %d, made when the clock had been set back: its fence is %d, and that of the one before was %d", i, fence, last[durable])
		}
		last[durable] = fence
		if !durable {
			continue
		}
		// The time of a dead letter follows the queue's clock, not the system's.
		setClock(-time.Duration(100+i) * time.Hour)
		if _, err := p.Push(ctx, task{Fails: true}); !errors.Is(err, link.Aborted) {
			return fmt.Errorf("a task that is rejected: %w", err)
		}
		letters := p.DeadLetters()
		told := letters[len(letters)-1].Time
		if _, err := p.Drain(ctx); err != nil {
			return err
		}
		if p, err = pipeline.NewProducer(client, work, opts...); err != nil {
			return err
		}
		letters = p.DeadLetters()
		if kept := letters[len(letters)-1].Time; kept.Sub(told).Abs() > most {
			return fmt.Errorf("a dead letter of %v is one of %v when its queue is opened again", told, kept)
		}
		if _, err := p.Push(ctx, task{}); err != nil {
			return err
		}
		if fence = <-fences; fence <= last[durable] {
			return fmt.Errorf("the fence of a queue that was opened again is %d, and was %d", fence, last[durable])
		}
		last[durable] = fence
		if _, err := p.Close(); err != nil {
			return err
		}
	}
	return nil
}
