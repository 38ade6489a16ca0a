package main

import (
	"context"
	"errors"
	"strconv"
	"sync"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/protocol/pipeline"
)

// linkStages is link's pipeline as a program uses it: typed CBOR, the cluster-secret
// tier, default concurrency, an ack for each task. A durable queue syncs the ends of tasks in
// groups, and tasks are pushed to it in batches whose callers wait for the disk.
type linkStages struct{}

// linkStage is the stage that both sides import.
var linkStage = pipeline.NewStage[echo, pipeline.None]("crew", "bench") //nolint:gochecknoglobals // how stages are declared

func (linkStages) name() string   { return "link" }
func (linkStages) lossless() bool { return true }
func (linkStages) durable() bool  { return true }

func (linkStages) worker(ctx context.Context, m material, _ string, done func([]byte)) (worker, error) {
	node, err := linkMember(m, "crew")
	if err != nil {
		return nil, err
	}
	pipeline.Pull(node, linkStage, pipeline.NoResult(func(_ context.Context, task echo) error {
		done(task.Payload)
		return nil
	}))
	w := &linkWorker{node: node, ended: make(chan error, 1)}
	go func() { w.ended <- node.Run(context.WithoutCancel(ctx)) }()
	select {
	case <-node.Ready():
		return w, nil
	case err := <-w.ended:
		return nil, err
	}
}

type linkWorker struct {
	node *link.Node
	// ended carries the result of Run.
	ended chan error
}

func (w *linkWorker) addr() string { return w.node.Addr() }

func (w *linkWorker) close() error { return errors.Join(w.node.Close(), <-w.ended) }

func (linkStages) producer(_ context.Context, m material, addrs []string, dir string) (publisher, error) {
	var crew []discovery.Instance
	for i, addr := range addrs {
		crew = append(crew, discovery.Instance{ID: "crew-" + strconv.Itoa(i), Service: "crew", Addr: addr})
	}
	node, err := linkMember(m, "pusher", crew...)
	if err != nil {
		return nil, err
	}
	var opts []pipeline.QueueOption
	if dir != "" {
		opts = append(opts, pipeline.Durable(dir))
	}
	out, err := pipeline.NewProducer(node, linkStage, opts...)
	if err != nil {
		return nil, errors.Join(err, node.Close())
	}
	return &linkProducer{node: node, out: out, durable: dir != "", room: make(chan struct{}, linkBatches)}, nil
}

const (
	// linkBatch is how many tasks are pushed to a durable queue at once, and
	// linkBatches is how many such batches may wait for the disk.
	linkBatch   = 256
	linkBatches = 8
)

type linkProducer struct {
	node    *link.Node
	out     *pipeline.Producer[echo, pipeline.None]
	durable bool
	batch   []echo
	// room holds one element per batch in flight.
	room chan struct{}
	work sync.WaitGroup

	mu  sync.Mutex // guards err
	err error
}

func (p *linkProducer) addr() string { return "" }

// await has nothing to wait for: the first tasks wait for the workers.
func (p *linkProducer) await(context.Context, int) error { return nil }

func (p *linkProducer) publish(ctx context.Context, body []byte) error {
	if !p.durable {
		_, err := p.out.Enqueue(ctx, echo{body})
		return err
	}
	p.batch = append(p.batch, echo{append([]byte(nil), body...)})
	if len(p.batch) < linkBatch {
		return nil
	}
	return p.push(ctx)
}

// push waits for room and then pushes the batch in the background. It returns
// the errors of earlier batches.
func (p *linkProducer) push(ctx context.Context) error {
	batch := p.batch
	p.batch = nil
	p.room <- struct{}{}
	p.work.Go(func() {
		defer func() { <-p.room }()
		if _, err := p.out.EnqueueAll(ctx, batch); err != nil {
			p.mu.Lock()
			p.err = errors.Join(p.err, err)
			p.mu.Unlock()
		}
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// flush waits until all batches are accepted.
func (p *linkProducer) flush(ctx context.Context) error {
	var err error
	if len(p.batch) > 0 {
		err = p.push(ctx)
	}
	p.work.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(err, p.err)
}

func (p *linkProducer) close() error {
	p.work.Wait()
	_, err := p.out.Close()
	return errors.Join(err, p.node.Close())
}
