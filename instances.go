package link

import (
	"context"
	"log/slog"
	"time"

	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/trace"
	"github.com/linkmesh/link/tracing"
)

// Instances returns the instances of a service that the node knows, sorted by
// ID. From then on the node watches the service. Instances blocks until the registry
// has first answered, ctx ends, or Config.CallTimeout has passed. The result must
// not be modified.
func (n *Node) Instances(ctx context.Context, name string) ([]discovery.Instance, error) {
	list, err := n.router.Instances(ctx, name)
	if err != nil {
		return nil, failed("instances of "+name, routed(err))
	}
	return list, nil
}

// Codec returns the codec of the node's messages, for patterns.
func (n *Node) Codec() codec.Codec { return n.cfg.Codec }

// Tracer returns the tracer of the node, for the patterns of this module.
func (n *Node) Tracer() *tracing.Tracer { return n.cfg.Tracer }

// tracer returns the tracer of the node with its methods.
func (n *Node) tracer() *trace.Tracer { return (*trace.Tracer)(n.cfg.Tracer) }

// Logger returns the logger of the node, for patterns that log.
func (n *Node) Logger() *slog.Logger { return n.cfg.Logger }

// CallTimeout returns Config.CallTimeout, or its default: the timeout for an operation of
// a pattern whose context has no deadline.
func (n *Node) CallTimeout() time.Duration { return n.cfg.CallTimeout }

// Service returns Config.Service, the name by which others find the node; "" for a client.
func (n *Node) Service() string { return n.cfg.Service }
