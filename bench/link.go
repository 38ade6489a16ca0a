package main

import (
	"context"
	"log/slog"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/protocol/reqrep"
)

// linkPeer is link as a program uses it: typed CBOR, the cluster-secret tier
// and all defaults.
type linkPeer struct{}

type echo struct {
	Payload []byte
}

// linkEcho is the method that both sides import. It has the default level,
// Unsafe, so calls are not retried.
var linkEcho = reqrep.NewMethod[echo, echo]("echo", "echo", link.Unsafe) //nolint:gochecknoglobals // how methods are declared

func (linkPeer) name() string { return "link" }

func (linkPeer) serve(ctx context.Context, _ material, ready func(string)) error {
	node, err := linkNode("echo")
	if err != nil {
		return err
	}
	reqrep.Handle(node, linkEcho, func(_ context.Context, e echo) (echo, error) { return e, nil })
	// Run returns the error of Close.
	context.AfterFunc(ctx, func() { _ = node.Close() })
	go func() {
		<-node.Ready()
		ready(node.Addr())
	}()
	return endedBy(ctx, node.Run(ctx))
}

func (linkPeer) dial(_ context.Context, _ material, addr string) (caller, error) {
	node, err := linkNode("caller", discovery.Instance{ID: "echo-1", Service: "echo", Addr: addr})
	if err != nil {
		return nil, err
	}
	return linkCaller{node}, nil
}

// linkNode returns a node with default settings that knows the given instances.
func linkNode(service string, known ...discovery.Instance) (*link.Node, error) {
	registry, err := static.New(known...)
	if err != nil {
		return nil, err
	}
	return link.New(link.Config{Service: service, Addr: "127.0.0.1:0", Registry: registry, Logger: slog.New(slog.DiscardHandler)})
}

type linkCaller struct{ node *link.Node }

func (c linkCaller) close() error { return c.node.Close() }

func (c linkCaller) call(ctx context.Context, payload []byte) ([]byte, error) {
	md := callMetadata()
	out, err := reqrep.Call(ctx, c.node, linkEcho, echo{payload}, link.Meta(md[0][0], md[0][1]), link.Meta(md[1][0], md[1][1]))
	return out.Payload, err
}
