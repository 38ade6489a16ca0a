package main

import (
	"context"
	"strings"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/reqrep"
)

// The contract of the gateway.
var (
	LookUp  = reqrep.NewMethod[OrderQuery, Answer]("gateway", "look-up", link.ReadOnly)
	SetLoad = reqrep.NewMethod[Load, Tally]("gateway", "set-load", link.Unsafe)
	Count   = reqrep.NewMethod[CountQuery, Tally]("gateway", "count", link.ReadOnly)
	GetMany = reqrep.NewMethod[Many, Tally]("gateway", "get-many", link.ReadOnly)
	Explain = reqrep.NewMethod[ExplainQuery, Explanation]("gateway", "explain", link.ReadOnly)
)

// Answer is an order, with the instance that answered the gateway and the
// connection that it used. Version is the tag of the instance, and Identity is
// proven by its certificate.
type Answer struct {
	Order       Order
	Version     string
	Identity    string
	TLS         string
	KeyExchange string
}

// ExplainQuery asks where calls of GetOrder go at the moment.
type ExplainQuery struct{}

// Explanation is the explanation of the gateway's node: a call for the subset From
// goes to the subset To.
type Explanation struct {
	From string
	To   string
	Text string
}

// gateway calls orders for other services. It serves and calls with the same node.
type gateway struct {
	node *link.Node
	load load
}

// serveGateway runs the gateway until ctx ends. Its topology routes the calls on
// the caller's side: orders does not know it.
func serveGateway(ctx context.Context, namespace, topologyFile string) error {
	node, err := link.New(link.Config{Service: "gateway", Namespace: namespace, Routing: link.Routing{TopologyFile: topologyFile}})
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

// lookUp forwards the query. It returns an error unchanged: code, message and
// details arrive at the gateway's own caller.
func (g *gateway) lookUp(ctx context.Context, q OrderQuery) (Answer, error) {
	var who link.Peer
	order, err := reqrep.Call(ctx, g.node, GetOrder, q, link.AnsweredBy(&who))
	if err != nil {
		return Answer{}, err
	}
	return Answer{
		Order: order, Version: version(who), Identity: who.Identity.String(),
		TLS: who.TLS, KeyExchange: who.KeyExchange,
	}, nil
}

// explain explains a call for the stable subset. The subset of a call is chosen at
// random, so it asks until stable comes up.
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
			if level.Takes > 0 && level.Subset != "" {
				why.To = level.Subset
			}
		}
		return why, nil
	}
}

// version returns the version of an instance of orders, which is its tag.
func version(p link.Peer) string { return strings.Join(p.Tags, ",") }
