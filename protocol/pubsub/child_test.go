package pubsub_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/internal/child"
	"github.com/linkmesh/link/protocol/pubsub"
)

// What a process of a test can be.
const (
	publishes = "publishes" // placed, numbered, as fast as its subscriber reads
	reads     = "reads"     // as a member of a group, without acks
)

// childReads is how many messages a member says that it has read, and may have.
const childReads = 20

func runChild(role string) error {
	switch role {
	case publishes:
		return childPublishes()
	case reads:
		return childReadsAGroup()
	}
	return fmt.Errorf("no role %q", role)
}

func childPublishes() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		child.Ended()
		cancel()
	}()
	registry, err := static.New()
	if err != nil {
		return err
	}
	node, err := link.New(link.Config{Service: "orders", Addr: "127.0.0.1:0", Registry: registry, Logger: quiet()})
	if err != nil {
		return err
	}
	p, err := pubsub.NewPublisher(node, placed)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx) }()
	<-node.Ready()
	child.Say("up", node.Addr())
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for n := 1; ctx.Err() == nil; n++ {
		if _, err := p.Publish(ctx, order{ID: strconv.Itoa(n)}); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return <-ended
}

// childReadsAGroup reads, and closes its subscription when it is to end.
func childReadsAGroup() error {
	node, err := link.New(link.Config{Addr: "127.0.0.1:0", Logger: quiet()}) // LINK_PEERS says where orders is
	if err != nil {
		return err
	}
	s, err := pubsub.Subscribe(context.Background(), node, placed, member()...)
	if err != nil {
		return err
	}
	child.Say("up")
	go func() {
		child.Ended()
		s.Close()
	}()
	had := 0
	for m := range s.Messages() {
		if m.Err != nil {
			return m.Err
		}
		child.Say("read", m.Value.ID)
		if had++; had == childReads {
			break // what waits for an ack is as much as it may have
		}
	}
	child.Ended()
	s.Close()
	child.Say("closed")
	return node.Close()
}

// member is the subscription of a member of a group that may have some messages without acks.
func member() []pubsub.SubscribeOption {
	return []pubsub.SubscribeOption{pubsub.In(pubsub.AtLeastOnce), pubsub.Group("g"), pubsub.Limits(childReads, 0, 0)}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// childMain is what another process of a test does until it is ended.
func childMain(role string) {
	if err := runChild(role); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
