// Package link connects the services of a system to a mesh: they find each
// other by name, prove who they are, and call each other over QUIC, with no
// proxy and no broker between them.
//
// # Overview
//
// A [Node] is one process's side of the mesh: one identity, one UDP socket. A
// node with handlers runs ([Node.Run]): it announces itself, serves, and drains
// when its context ends. A node that never runs is a client.
//
// Programs use a pattern, such as protocol/reqrep, which adds types to the two
// operations of a node: one unary call ([Host.Call], [Host.HandleCall]) and one
// stream of frames ([Host.Open], [Host.Handle]). Patterns use only what this
// package exports, so others can be built beside them.
//
// # Usage
//
//	node, err := link.New(link.Config{Service: "orders", Tags: []string{"v2"}})
//	if err != nil {
//		return err
//	}
//	reqrep.Handle(node, GetOrder, getOrder)
//	return node.Run(ctx)
//
// # Guarantees
//
//   - Every connection uses TLS 1.3 with both sides authenticated; no option turns
//     that off. A peer must prove the identity of the service that is called.
//   - A call ends by its deadline, 10 s if the context has none, with a reply or
//     an [*Error].
//   - A call that a handler may have seen is not sent again, unless its route is
//     [Idempotent] or [ReadOnly] or the call has an [IdempotencyKey].
//   - A node that drains fails no call: it refuses new ones, which go elsewhere,
//     and finishes those that run.
//
// # Concurrency
//
// A Node is safe for concurrent use. A [Stream] has one sender and one receiver
// at a time.
//
// # Errors
//
// Every operation returns an [*Error]; test it with errors.Is and a [Code].
//
// # Testing
//
// Package linktest provides a mesh in memory: real nodes on a simulated network.
package link

import (
	"context"
	"crypto/tls"
	"os"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/consul"
	"github.com/linkmesh/link/discovery/local"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/internal/lifecycle"
	"github.com/linkmesh/link/internal/mtls"
	"github.com/linkmesh/link/internal/presence"
	"github.com/linkmesh/link/internal/router"
	"github.com/linkmesh/link/security"
)

// New returns a node configured by cfg. It reads the environment and the files of
// the identity, but opens no socket and starts nothing that needs Close, except what
// cfg leaves to defaults.
//
// Errors: InvalidArgument names the field and value; FailedPrecondition if the
// tier is not allowed here.
//
//nolint:contextcheck,nolintlint // for callers: a node outlives the context of its maker; Close ends it
func New(cfg Config) (*Node, error) {
	cfg, err := resolve(cfg)
	if err != nil {
		return nil, failed("link.New", err)
	}
	if err := cfg.matchIdentity(); err != nil {
		return nil, failed("link.New", err)
	}
	n := &Node{
		cfg: cfg, identity: cfg.Identity, registry: cfg.Registry,
		group:      lifecycle.New(context.Background()),
		milestones: milestones{ready: make(chan struct{}), closed: make(chan struct{}), shutdown: make(chan struct{})},
	}
	n.mirrors = mirrors{node: n, room: make(chan struct{}, maxMirrored)}
	n.started = time.Now()
	n.invoke = chain(cfg.ClientMiddleware, n.callTerminal)
	n.opener = chain(cfg.ClientMiddleware, n.openTerminal)
	if len(cfg.ServerMiddleware) > 0 {
		n.serving = chain(cfg.ServerMiddleware, serverTerminal)
	}
	n.instance = discovery.NewInstanceID(cfg.identityName())
	if n.identity == nil {
		if n.identity, err = security.FromEnvironment(cfg.LookupEnv, cfg.identityName(), cfg.Namespace); err != nil {
			return nil, &Error{Code: FailedPrecondition, Op: "link.New", Message: err.Error(), Cause: err}
		}
		n.owned = append(n.owned, n.identity)
	}
	if n.registry == nil {
		if err := n.defaultRegistry(); err != nil {
			_ = n.closeOwned()
			return nil, failed("link.New", err)
		}
	}
	if _, err := n.cfg.bindAddr(n.identity.Tier()); err != nil {
		_ = n.closeOwned()
		return nil, failed("link.New", err)
	}
	if n.router, err = n.newRouter(); err != nil {
		_ = n.closeOwned()
		return nil, failed("link.New", routed(err))
	}
	n.presence = n.newPresence()
	return n, nil
}

func (n *Node) newPresence() *presence.Presence {
	cfg := &n.cfg
	return presence.New(presence.Config{
		Registry: n.registry,
		Instance: discovery.Instance{
			ID: n.instance, Service: cfg.Service, Namespace: cfg.Namespace, Meta: cfg.Meta, Weight: cfg.Weight, Started: n.started,
		},
		Tags: cfg.Tags, Probes: cfg.Monitors, TellPeers: n.announceTags, Logger: cfg.Logger, Group: n.group,
	})
}

func (n *Node) newRouter() (*router.Router, error) {
	cfg := &n.cfg
	return router.New(router.Config{
		Registry:  n.registry,
		Namespace: cfg.Namespace,
		Node: router.Self{
			ID: n.identity.ID(), Tier: n.identity.Tier(), Name: cfg.identityName(), Instance: n.instance,
			Tags: cfg.Tags, Meta: cfg.Meta, Codec: cfg.Codec,
		},
		Topology: router.Documents{
			Code: cfg.Routing.Topology, File: cfg.Routing.TopologyFile,
			AllowRedirect: cfg.Routing.AllowRedirect, AllowFaults: cfg.Routing.AllowFaults,
		},
		AllowNets:   cfg.Routing.AllowNets,
		CallTimeout: cfg.Limits.CallTimeout,
		Silence:     cfg.Limits.silence(),
		Logger:      cfg.Logger,
		Group:       n.group,
		Endpoint:    n.socket,
		OnLoopback:  n.onLoopback,
		TLS:         func(service security.ID) *tls.Config { return mtls.Client(n.identity, service, mtls.Protocol) },
	})
}

// defaultRegistry makes the registry that the environment asks for.
func (n *Node) defaultRegistry() error {
	if peers := n.cfg.env(envPeers); peers != "" {
		instances, err := static.Parse(peers)
		if err != nil {
			return Errorf(InvalidArgument, envPeers+": %w", err)
		}
		r, err := static.New(instances...)
		if err != nil {
			return Errorf(InvalidArgument, envPeers+": %w", err)
		}
		n.registry = r
		n.own(r)
		return nil
	}
	if addr := n.cfg.env(envConsul); addr != "" {
		cfg := consul.Config{Logger: n.cfg.Logger}
		// Without an address consul.New reads the environment of the process.
		if addr != os.Getenv(envConsul) {
			cfg.Address = addr
		}
		r, err := consul.New(cfg)
		if err != nil {
			return Errorf(InvalidArgument, envConsul+": %w", err)
		}
		n.registry = r
		n.own(r)
		return nil
	}
	r, err := local.New(local.Config{TrustDomain: n.identity.ID().TrustDomain(), Logger: n.cfg.Logger})
	if err != nil {
		return Errorf(FailedPrecondition, "local registry: %w", err)
	}
	n.registry = r
	n.own(r)
	return nil
}
