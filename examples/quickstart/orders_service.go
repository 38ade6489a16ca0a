package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub"
	"github.com/linkmesh/link/protocol/reqrep"
)

// storing is how long it takes to place an order. It simulates a database.
const storing = 5 * time.Millisecond

// orders is one instance of the orders service.
type orders struct {
	version string
	placed  atomic.Int64
	events  *pubsub.Publisher[Placed]
}

// serveOrders runs an instance until ctx ends, and returns when it has drained.
func serveOrders(ctx context.Context, namespace, version string) error {
	node, err := link.New(link.Config{Service: "orders", Namespace: namespace, Tags: []string{version}})
	if err != nil {
		return err
	}
	events, err := pubsub.NewPublisher(node, OrderPlaced)
	if err != nil {
		return err
	}
	o := &orders{version: version, events: events}
	reqrep.Handle(node, GetOrder, o.get)
	reqrep.Handle(node, PlaceOrder, o.place)
	if err := serve(ctx, node); err != nil {
		return err
	}
	fmt.Println(placedLine, o.placed.Load())
	return nil
}

func (o *orders) get(_ context.Context, q OrderQuery) (Order, error) {
	const newest = "o-1"
	if q.ID != newest {
		return Order{}, link.WithDetails(
			link.Errorf(link.NotFound, "there is no order %s", q.ID),
			UnknownOrderError{ID: q.ID, Newest: newest})
	}
	return Order{ID: newest, Cents: 4200}, nil
}

func (o *orders) place(ctx context.Context, order NewOrder) (Order, error) {
	select {
	case <-time.After(storing):
	case <-ctx.Done():
		return Order{}, context.Cause(ctx)
	}
	placed := Order{ID: fmt.Sprintf("%s-%d", o.version, o.placed.Add(1)), Cents: order.Cents}
	_, err := o.events.Publish(ctx, Placed{placed, o.version}, pubsub.Key(placed.ID))
	return placed, err
}
