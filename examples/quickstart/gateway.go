package main

import (
	"context"
	"strings"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/reqrep"
)

// The contract of the gateway.
var (
	LookUp  = reqrep.NewMethod[OrderQuery, Answer]("gateway", "look-up", reqrep.ReadOnly)
	SetLoad = reqrep.NewMethod[Load, Tally]("gateway", "set-load", reqrep.Unsafe)
	Count   = reqrep.NewMethod[CountQuery, Tally]("gateway", "count", reqrep.ReadOnly)
)

// Answer is an order, and who gave it to the gateway over what connection.
type Answer struct {
	Order       Order
	Version     string // the tag of the instance
	Identity    string // proven by its certificate
	TLS         string
	KeyExchange string
}

// gateway calls orders for others. It serves and calls with the same node.
type gateway struct {
	node *link.Node
	load load
}

// serveGateway runs the gateway until ctx ends.
func serveGateway(ctx context.Context, namespace string) error {
	node, err := link.New(link.Config{Service: "gateway", Namespace: namespace})
	if err != nil {
		return err
	}
	g := &gateway{node: node}
	defer g.load.end()
	reqrep.Handle(node, LookUp, g.lookUp)
	reqrep.Handle(node, SetLoad, g.setLoad)
	reqrep.Handle(node, Count, func(context.Context, CountQuery) (Tally, error) { return g.load.count(), nil })
	return serve(ctx, node)
}

// lookUp passes the question on. It passes an error on as it is: code, message
// and details arrive at the gateway's own caller.
func (g *gateway) lookUp(ctx context.Context, q OrderQuery) (Answer, error) {
	var who link.Peer
	order, err := reqrep.Call(ctx, g.node, GetOrder, q, link.Answered(&who))
	if err != nil {
		return Answer{}, err
	}
	return Answer{
		Order: order, Version: version(who), Identity: who.Identity.String(),
		TLS: who.TLS, KeyExchange: who.KeyExchange,
	}, nil
}

// version is the tag of an instance of orders.
func version(p link.Peer) string { return strings.Join(p.Tags, ",") }
