package link_test

import (
	"context"
	"fmt"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pipeline"
	"github.com/linkmesh/link/protocol/pubsub"
	"github.com/linkmesh/link/protocol/reqrep"
)

// Order is a plain Go type; there is no generated code.
type Order struct{ ID, Item string }

// What the service orders offers, declared once and imported by both sides.
var (
	Place  = reqrep.NewMethod[string, Order]("orders", "place")           // a method: one instance answers
	Placed = pubsub.NewTopic[Order]("orders", "placed")                   // a topic: all subscribers hear
	Pack   = pipeline.NewStage[Order, pipeline.None]("orders", "to-pack") // a stage: one worker does the task
)

func offer(node *link.Node) error {
	placed, err := pubsub.NewPublisher(node, Placed)
	if err != nil {
		return err
	}
	reqrep.Handle(node, Place, func(ctx context.Context, item string) (Order, error) {
		if item == "" {
			return Order{}, link.Errorf(link.InvalidArgument, "order what?")
		}
		order := Order{ID: "o-1", Item: item}
		_, err := placed.Publish(ctx, order)
		return order, err
	})
	pipeline.Pull(node, Pack, pipeline.NoResult(func(context.Context, Order) error {
		return nil // packed; with an error, the task would be tried again
	}))
	return nil
}

func serve(ctx context.Context) error {
	node, err := link.New(link.Config{Service: "orders"})
	if err != nil {
		return err
	}
	if err := offer(node); err != nil {
		return err
	}
	return node.Run(ctx) // announces and serves until ctx ends, then drains
}

func use(ctx context.Context) error {
	node, err := link.New(link.Config{}) // a node that never runs is a client
	if err != nil {
		return err
	}
	defer node.Close()
	news, err := pubsub.Subscribe(ctx, node, Placed)
	if err != nil {
		return err
	}
	order, err := reqrep.Call(ctx, node, Place, "tea", link.WaitForReady())
	if err != nil {
		return err
	}
	fmt.Println("placed:", order.ID)
	for m := range news.Messages() {
		fmt.Println("heard of:", m.Value.Item) // or m.Gap, where messages are missing
		break
	}
	_, err = pipeline.Push(ctx, node, Pack, order)
	fmt.Println("packed:", err == nil)
	return err
}

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- serve(ctx) }()
	err := use(ctx)
	stop()
	fmt.Println("errors:", err, <-served)
	// Output:
	// placed: o-1
	// heard of: tea
	// packed: true
	// errors: <nil> <nil>
}
