// Package router decides where a call may go: which services there are, which instances they have, what the topology
// makes of them, and which instance gets the next attempt of a call.
//
// A [Router] belongs to one node. A [Service] is a name that the node calls; the router follows its instances in the
// registry for as long as they are needed. A [Search] is the choice of instances for one call: Find and Begin prepare it,
// Next returns the instance for an attempt with a connection to it, and Done says whether the call is settled by the
// outcome or goes on to another instance.
//
// The package knows no messages, no handlers and no options of package link. Its errors are of type [Error] or those
// that the functions of [Config] return.
package router

import (
	"crypto/tls"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"time"

	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/lifecycle"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/security"
	"github.com/linkmesh/link/topology"
)

// Config is what a router needs of its node. All fields are required unless they say otherwise.
type Config struct {
	Registry  discovery.Registry
	Namespace string
	// Node is the node itself, as it calls others.
	Node Self
	// Topology are the node's own documents; the zero value means none.
	Topology Documents
	// AllowNets are the networks whose addresses may be dialed; empty means all.
	AllowNets []netip.Prefix
	// CallTimeout bounds calls whose caller, topology and method set no time.
	CallTimeout time.Duration
	// Silence is the least time between two dials of an instance that does not answer.
	Silence time.Duration
	Logger  *slog.Logger
	// Group owns the goroutines of the router. Its end is the end of the router.
	Group *lifecycle.Group
	// Endpoint returns the endpoint of the node, or why there is none. It is called for every call.
	Endpoint func() (*transport.Endpoint, error)
	// OnLoopback reports whether the node can be reached from its own machine only.
	OnLoopback func() bool
	// TLS returns the configuration for one dial to a service, whose identity the peer must prove.
	TLS func(service security.ID) *tls.Config
}

// Self is what a router needs to know about its own node.
type Self struct {
	// ID is the identity, Tier the tier of its source.
	ID   security.ID
	Tier security.Tier
	// Name is the name that the topology knows the node by as a caller.
	Name string
	// Instance is the ID of the node as an instance.
	Instance string
	// Tags and Meta say where the node is.
	Tags []string
	Meta map[string]string
	// Codec is the codec of the node's messages.
	Codec codec.Codec
}

// Documents are the documents of the topology that a node is configured with.
type Documents struct {
	Code *topology.Document
	// File is the path of a file that is read now and whenever it changes; "" if there is none.
	File string
	// AllowRedirect and AllowFaults are what the documents of a registry may do.
	AllowRedirect []string
	AllowFaults   bool
}

// Router decides where the calls of one node go. It is safe for concurrent use.
type Router struct {
	cfg      Config
	services serviceTable
	policy   policies
	names    names
}

// New returns a router. It reads the documents of the topology and starts nothing. The error is of type [Error].
func New(cfg Config) (*Router, error) {
	r := &Router{cfg: cfg}
	r.services.seed = maphash.MakeSeed()
	r.names.router, r.policy.router = r, r
	if err := r.policy.load(); err != nil {
		return nil, err
	}
	return r, nil
}

// Describe returns a name for a registry that helps a person to find it.
func Describe(r discovery.Registry) string {
	if d, ok := r.(discovery.Describer); ok {
		return d.Describe()
	}
	return fmt.Sprintf("registry %T", r)
}
