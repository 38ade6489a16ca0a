package main

import (
	"fmt"

	"github.com/linkmesh/link/protocol/pubsub"
	"github.com/linkmesh/link/protocol/reqrep"
)

// The contract of the orders service, which both sides import. In a larger
// system it is a package of its own.
var (
	// GetOrder changes nothing: if an instance is lost during a call, link asks
	// another one.
	GetOrder = reqrep.NewMethod[OrderQuery, Order]("orders", "get", reqrep.ReadOnly)

	// PlaceOrder must not run twice: link never sends a call again that an
	// instance may have seen.
	PlaceOrder = reqrep.NewMethod[NewOrder, Order]("orders", "place", reqrep.Unsafe)

	// OrderPlaced is published for each order: whoever subscribes hears of it from
	// the instance that placed it.
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

// Placed says that an order was placed, and by which version.
type Placed struct {
	Order   Order
	Version string
}

// UnknownOrderError is the detail of a link.NotFound. It implements error, so that
// errors.As finds it on the caller's side.
type UnknownOrderError struct {
	ID     string
	Newest string // the last order there is
}

// Error implements error.
func (u UnknownOrderError) Error() string {
	return fmt.Sprintf("order %s is unknown, the newest is %s", u.ID, u.Newest)
}
