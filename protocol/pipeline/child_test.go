package pipeline_test

import (
	"context"
	"log/slog"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/internal/child"
	"github.com/linkmesh/link/protocol/pipeline"
)

// works is the name of a child process that begins tasks and does not end them.
const works = "works"

func childWorks() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		child.Ended()
		cancel()
	}()
	node, err := near("mailer")
	if err != nil {
		return err
	}
	pipeline.Pull(node, receipts, pipeline.NoResult(func(ctx context.Context, o order) error {
		child.Say("began", o.ID)
		<-ctx.Done()
		return ctx.Err()
	}), pipeline.Concurrency(1))
	go func() {
		<-node.Ready()
		child.Say("up", node.Addr())
	}()
	return node.Run(ctx)
}

// near makes a node that finds a fixed list of instances.
func near(service string, instances ...discovery.Instance) (*link.Node, error) {
	registry, err := static.New(instances...)
	if err != nil {
		return nil, err
	}
	return link.New(link.Config{Service: service, Registry: registry, Addr: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
}
