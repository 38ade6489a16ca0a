package pipeline

import (
	"errors"
	"runtime/debug"

	"github.com/linkmesh/link"
)

// Verb is the kind of an [Access].
type Verb uint8

// The verbs.
const (
	// CanPush means that a peer wants to push tasks to a worker of this node. Stage is the
	// stage of the worker.
	CanPush Verb = iota
	// CanInspect means that a peer asks for the [Stats] of this node. Stage is empty.
	CanInspect
)

// String returns "push to" or "inspect".
func (v Verb) String() string {
	if v == CanInspect {
		return "inspect"
	}
	return "push to"
}

// Access is what a peer asks for.
type Access struct {
	Peer link.Peer
	Verb Verb
	// Stage is the name of the stage within its service, which is the service of this node.
	Stage string
}

// Authorize lets allow decide which peers may push to the workers of node, and which may ask
// for its statistics. Allow returns nil to permit an access, otherwise the reason why not.
// Without Authorize every peer of the mesh is permitted. A later call replaces the rule.
//
// The rule is applied when a producer opens its stream to a worker, and streams that are open
// stay open: call Authorize before the node runs. The rule also holds for what the node pushes
// to its own stages. Allow is called by many goroutines and should be quick. A panic of allow
// refuses the access. If allow is nil, Authorize panics.
func Authorize(node *link.Node, allow func(Access) error) {
	if allow == nil {
		panic(link.Errorf(link.InvalidArgument, "pipeline.Authorize: the rule is nil")) //nolint:forbidigo // a programmer error at set-up
	}
	systemOf(node).allow.Store(&allow)
}

// permit returns why the rule of [Authorize] refuses an access, or nil if it does not.
func (s *system) permit(a Access) (err error) {
	allow := s.allow.Load()
	if allow == nil {
		return nil
	}
	defer func() {
		if p := recover(); p != nil {
			link.HostOf(s.node).Logger().Error("pipeline: the rule of Authorize panicked; the access is refused", "peer", a.Peer.String(), "panic", p, "stack", string(debug.Stack()))
			err = errors.New("the rule of Authorize panicked")
		}
	}()
	return (*allow)(a)
}

// mayPush returns why a peer may not push to the worker, or nil if it may.
func (w *Worker) mayPush(peer link.Peer) error {
	if err := systemOf(w.node).permit(Access{peer, CanPush, w.route.Name}); err != nil {
		return link.Errorf(link.PermissionDenied, "%s may not push to %s: %w", peer.Service(), w.route, err)
	}
	return nil
}

// mayInspect returns why a peer may not ask for the statistics of the node, or nil if it may.
func (s *system) mayInspect(peer link.Peer) error {
	if err := s.permit(Access{Peer: peer, Verb: CanInspect}); err != nil {
		return link.Errorf(link.PermissionDenied, "%s may not inspect queues: %w", peer.Service(), err)
	}
	return nil
}
