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

// The roles of a child process.
const (
	// publishes makes a process publish numbered orders to placed, one every 5 ms.
	publishes = "publishes"
	// reads makes a process read placed as a member of a group, without acks.
	reads = "reads"
)

// childReads is how many messages a member may have without acks, and how many it reports as read.
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

// childReadsAGroup reads, and closes its subscription when the process is told to end.
func childReadsAGroup() error {
	// The environment variable LINK_PEERS has the address of orders.
	node, err := link.New(link.Config{Addr: "127.0.0.1:0", Logger: quiet()})
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
			// No more messages come, because none of these is acked.
			break
		}
	}
	child.Ended()
	s.Close()
	child.Say("closed")
	return node.Close()
}

// member returns the options of a member of a group that may have childReads messages without acks.
func member() []pubsub.SubscribeOption {
	return []pubsub.SubscribeOption{pubsub.AtLeastOnce, pubsub.Group("g"), pubsub.Buffer(childReads, 0, 0)}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// childMain is the main function of a child process. It returns when the process is told to end.
func childMain(role string) {
	if err := runChild(role); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
