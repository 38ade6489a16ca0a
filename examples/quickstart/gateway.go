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
	GetMany = reqrep.NewMethod[Many, Tally]("gateway", "get-many", reqrep.ReadOnly)
	Explain = reqrep.NewMethod[ExplainQuery, Explanation]("gateway", "explain", reqrep.ReadOnly)
)

// Answer is an order, and who gave it to the gateway over what connection.
type Answer struct {
	Order       Order
	Version     string // the tag of the instance
	Identity    string // proven by its certificate
	TLS         string
	KeyExchange string
}

// ExplainQuery asks where calls of GetOrder go as things are.
type ExplainQuery struct{}

// Explanation is what the gateway's node says.
type Explanation struct {
	From string // the subset that the call is for
	To   string // the subset that gets it
	Text string
}

// gateway calls orders for others. It serves and calls with the same node.
type gateway struct {
	node *link.Node
	load load
}

// serveGateway runs the gateway until ctx ends. The topology is its caller's side
// of routing: orders knows nothing of it.
func serveGateway(ctx context.Context, namespace, topologyFile string) error {
	node, err := link.New(link.Config{Service: "gateway", Namespace: namespace, TopologyFile: topologyFile})
	if err != nil {
		return err
	}
	g := &gateway{node: node}
	defer g.load.end()
	reqrep.Handle(node, LookUp, g.lookUp)
	reqrep.Handle(node, SetLoad, g.setLoad)
	reqrep.Handle(node, Count, func(context.Context, CountQuery) (Tally, error) { return g.load.count(), nil })
	reqrep.Handle(node, GetMany, g.getMany)
	reqrep.Handle(node, Explain, g.explain)
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

// explain explains a call for the stable subset. Chance decides which subset a
// call is for, so it asks until that one comes up.
func (g *gateway) explain(ctx context.Context, _ ExplainQuery) (Explanation, error) {
	for {
		x, err := g.node.Explain(ctx, GetOrder.Route())
		if err != nil {
			return Explanation{}, err
		}
		if x.Target != "stable" {
			continue
		}
		why := Explanation{From: x.Target, Text: x.String()}
		for _, level := range x.Levels {
			if level.Takes > 0 && level.Subset != nil {
				why.To = level.Subset.Name
			}
		}
		return why, nil
	}
}

// version is the tag of an instance of orders.
func version(p link.Peer) string { return strings.Join(p.Tags, ",") }
