package link

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/lifecycle"
	"github.com/linkmesh/link/internal/presence"
	"github.com/linkmesh/link/internal/router"
	"github.com/linkmesh/link/internal/trace"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/security"
)

// Node is one process's side of the mesh. [New] makes it.
type Node struct {
	cfg      Config
	identity security.Source
	registry discovery.Registry
	// owned is what New made for the node, closed last in reverse order.
	owned    []io.Closer
	instance string
	group    *lifecycle.Group
	wrapped

	started time.Time
	mirrors mirrors

	extensions extensions
	drains     drainFuncs

	routes routeTable
	// router decides where calls go, and presence is what others know of the node.
	router   *router.Router
	presence *presence.Presence

	mu    sync.Mutex // guards the fields below
	state state
	// endpoint is written under mu and read without it.
	endpoint atomic.Pointer[transport.Endpoint]
	addr     string

	milestones
}

// wrapped is what a node does, inside its middleware.
type wrapped struct {
	// invoke makes one unary call.
	invoke Next
	// opener opens a stream.
	opener Next
	// serving runs handlers; nil if there is no middleware.
	serving Next
}

// milestones are what others wait for in the life of a node.
type milestones struct {
	// ready is closed when the node serves.
	ready chan struct{}
	// closed is closed when the node is closed for good.
	closed chan struct{}
	// shutdown is closed when Shutdown begins.
	shutdown chan struct{}
}

type state uint8

const (
	stateNew state = iota
	// stateStarting means that the node listens and waits for the registry to accept it.
	stateStarting
	stateRunning
	stateDraining
	stateClosed
)

var errNodeClosed = &Error{Code: Unavailable, Message: "the node is closed"}

var errClientRuns = &Error{
	Code: FailedPrecondition,
	Message: "Config.Service is empty, so nobody could find the node, and it does not run: set Config.Service to serve; " +
		"a client calls, subscribes and pushes without Run, and ends with Shutdown or Close",
}

var errRanBefore = &Error{Code: FailedPrecondition, Message: "the node has already run or is closed"}

// Instance returns the ID of this node, unique per process start.
func (n *Node) Instance() string { return n.instance }

// Identity returns the identity that the node proves to its peers.
func (n *Node) Identity() security.ID { return n.identity.ID() }

// Addr returns the address that the node announces, or "" before it runs.
func (n *Node) Addr() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.addr
}

// Ready returns a channel that is closed when the node is announced and serves.
// It is never closed if the node never runs.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Host is what the authors of patterns need of a node: routes of their own, streams to instances, values that live with
// the node, tags by which others find it. Programs use the patterns instead. A Host is a small value that refers to its
// node, and is safe for concurrent use.
//
// All patterns of this module are built on it, so a pattern of your own can do what they do: serve a route
// ([Host.HandleCall], [Host.Handle]), reach one instance ([Host.Call], [Host.Open]) or all of them ([Host.Follow] and
// [OnInstance]), keep its state ([Host.Extension]) and its goroutines ([Host.Go]) with the node, and take part in a
// drain ([Node.OnDrain], [Host.OnLastCall]).
type Host struct{ node *Node }

// HostOf returns the host of the patterns of a node.
func HostOf(n *Node) Host { return Host{n} }

// tracer returns the tracer of the node with its methods.
func (n *Node) tracer() *trace.Tracer { return (*trace.Tracer)(n.cfg.Tracer) }

// extensions are the values that patterns store with a node.
type extensions struct {
	mu     sync.Mutex // guards the field below
	values map[any]any
}

// drainFuncs are the functions that a node calls when it drains.
type drainFuncs struct {
	mu    sync.Mutex // guards the fields below
	begin []func(context.Context) error
	quiet []func(context.Context) error
}

// maxMirrored bounds how many copies of calls are in flight at once. Beyond it
// calls are not copied, which [Status] counts.
const maxMirrored = 64

// mirrors sends copies of calls where the topology asks for them, and drops the
// replies. A copy neither delays its call nor changes its result.
type mirrors struct {
	node *Node
	// room holds a token for each copy in flight.
	room    chan struct{}
	sent    atomic.Uint64
	dropped atomic.Uint64
}

// correlation returns how far the trace context of a caller is trusted.
func (n *Node) correlation(s *transport.Session) trace.Correlation {
	if verifiedOf(s).peer.ID.TrustDomain() != n.identity.ID().TrustDomain() {
		return trace.Foreign
	}
	return trace.Child
}

func (n *Node) own(v any) {
	if c, ok := v.(io.Closer); ok {
		n.owned = append(n.owned, c)
	}
}

func (n *Node) closeOwned() error {
	var errs []error
	for _, c := range slices.Backward(n.owned) {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
