package main

import (
	"fmt"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub"
	"github.com/linkmesh/link/protocol/reqrep"
)

// The contract of the orders service, which both sides import. In a larger
// system it would be a separate package.
var (
	// GetOrder is read-only: if an instance is lost during a call, link retries it
	// on another one.
	GetOrder = reqrep.NewMethod[OrderQuery, Order]("orders", "get", link.ReadOnly)

	// PlaceOrder must not run twice: link never retries a call that an instance may
	// have received.
	PlaceOrder = reqrep.NewMethod[NewOrder, Order]("orders", "place", link.Unsafe)

	// OrderPlaced is published for each order, by the instance that placed it.
	OrderPlaced = pubsub.NewTopic[Placed]("orders", "placed")
)

// OrderQuery asks for one order.
type OrderQuery struct{ ID string }

// NewOrder is an order to be placed.
type NewOrder struct{ Cents int64 }

// Order is an order that was placed.
type Order struct {
	ID    string
	Cents int64
}

// Placed is the event that an order was placed by a version of orders.
type Placed struct {
	Order   Order
	Version string
}

// UnknownOrderError is the detail of a link.NotFound. It implements error, so that
// errors.As finds it on the caller's side. Newest is the ID of the newest order.
type UnknownOrderError struct {
	ID     string
	Newest string
}

// Error implements error.
func (u UnknownOrderError) Error() string {
	return fmt.Sprintf("order %s is unknown, the newest is %s", u.ID, u.Newest)
}
