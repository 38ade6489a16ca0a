package link

import (
	"context"
	"errors"
	"net"

	"github.com/linkmesh/link/internal/router"
)

// Run announces the node and serves until ctx ends or the node is shut down or
// closed. While the registry cannot be reached, the node serves peers that know its
// address. When ctx ends, Run drains the node for Config.Limits.DrainTimeout at most, as
// [Node.Shutdown] does, and closes it. It waits for the functions of [Node.OnDrain] and [Host.OnLastCall],
// such as those that drain the queues of a pipeline. Run blocks; [Node.Ready] tells
// when the node serves. A node runs once.
//
// A client, which has no Config.Service, does not run: it calls, subscribes and
// pushes without Run, which only returns an error. To let a client finish what it has
// in flight, call [Node.Shutdown].
//
// The error is nil after a clean drain. Errors: Unavailable if the address cannot be
// used, the registry does not accept the node, or its socket fails for good while it
// runs, and the node is closed then; FailedPrecondition if the node has no Service or
// ran before, and nothing is done; DeadlineExceeded if handlers had to be canceled when
// the drain ended, or tasks in memory were not done; those of the functions of OnDrain
// and OnLastCall.
func (n *Node) Run(ctx context.Context) error {
	serves, err := n.start(ctx)
	switch {
	case err == nil:
		close(n.ready)
	case errors.Is(err, errRanBefore), errors.Is(err, errClientRuns):
		return failed("run", err)
	case !serves, ctx.Err() == nil && !n.isDraining():
		return failed("run", joined(err, n.Close()))
	}
	// A node that no registry has accepted so far serves peers that know its address, and drains like any other.
	select {
	case <-n.closed:
		return nil
	case <-n.shutdown:
		<-n.closed
		return nil
	case <-n.endpoint.Load().Failed():
		return failed("run", joined(Errorf(Unavailable, "%w", n.endpoint.Load().Failure()), n.Close()))
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.cfg.Limits.DrainTimeout)
	defer cancel()
	if err := n.Shutdown(drain); err != nil {
		return failed("run", err)
	}
	return nil
}

// start listens, then announces the node, in this order so that no peer dials an
// address where nothing listens yet. It reports whether the node listens.
func (n *Node) start(ctx context.Context) (serves bool, err error) {
	if err := n.listen(); err != nil {
		return false, err
	}
	return true, n.announceFirst(ctx)
}

// announceFirst announces a node that listens. It gives up when ctx ends or the node
// drains or is closed.
func (n *Node) announceFirst(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(n.group.Context(), func() { cancel(errNodeClosed) })()
	n.group.Go(func(context.Context) {
		select {
		case <-n.shutdown:
			cancel(errNodeClosed)
		case <-ctx.Done():
		}
	})
	n.mu.Lock()
	addr := n.addr
	n.mu.Unlock()
	err := n.presence.Begin(ctx, addr)
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case err != nil && n.state == stateStarting:
		return Errorf(Unavailable, "announcing %s in %s: %w", n.cfg.Service, router.Describe(n.registry), err)
	case err != nil:
		return errNodeClosed
	case n.state != stateStarting:
		// The node was closed meanwhile.
		return joined(errNodeClosed, n.presence.Close())
	}
	n.state = stateRunning
	return nil
}

// listen opens the socket for peers and determines the address to announce.
func (n *Node) listen() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.state != stateNew {
		return errRanBefore
	}
	if n.cfg.Service == "" {
		return errClientRuns
	}
	e, err := n.socketLocked()
	if err != nil {
		return err
	}
	if err := e.Listen(); err != nil {
		return Errorf(Unavailable, "%w", err)
	}
	if n.addr, err = n.cfg.advertised(e.Addr()); err != nil {
		return err
	}
	n.state = stateStarting
	if local, _, err := net.SplitHostPort(n.addr); err == nil && router.Loopback(local) && n.cfg.Advertise == "" && n.addr != e.Addr().String() {
		n.cfg.Logger.Warn("link: this machine has no address that others can reach; the node announces its loopback address",
			"fix", "set Config.Advertise or LINK_ADVERTISE", "announces", n.addr)
	}
	n.cfg.Logger.Info("link: node listens", "service", n.cfg.Service, "tier", n.identity.Tier().String(),
		"listens", listens(e.Addr()), "announces", n.addr)
	return nil
}
