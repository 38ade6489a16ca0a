package link

import (
	"context"
	"errors"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/router"
)

// FollowTag sends the names of the services, in the node's namespace, that have an
// instance with a tag, now and whenever they change, until ctx ends or the node
// closes; then the channel is closed. It is for patterns that talk to every service
// that offers something: follow each service with [Node.Follow], and let a node be
// found with [Node.AddTag].
//
// The channel holds the newest list only; a list is sorted and must not be
// modified. The first comes promptly, even if it is empty. The list is a hint from
// the registry: it may name a service that no longer has such an instance, and while
// the registry cannot be read the last list stays in use. It has at most
// discovery.MaxServices names and may include the node's own.
//
// Errors: InvalidArgument if the tag breaks a rule of discovery.Instance.Tags;
// Unimplemented if the registry is not a discovery.Finder; ResourceExhausted and
// Unavailable from the registry; Unavailable if the node is closed.
func (n *Node) FollowTag(ctx context.Context, tag string) (<-chan []string, error) {
	ch, err := n.followTag(ctx, tag)
	if err != nil {
		return nil, failed("follow tag", err)
	}
	return ch, nil
}

func (n *Node) followTag(ctx context.Context, tag string) (<-chan []string, error) {
	query := discovery.TagQuery{Tag: tag, Namespace: n.cfg.Namespace}
	if err := query.Validate(); err != nil {
		return nil, Errorf(InvalidArgument, "%w", err)
	}
	finder, ok := n.registry.(discovery.Finder)
	if !ok {
		return nil, Errorf(Unimplemented, "%s cannot tell which services have the tag %q: it is not a discovery.Finder; use one that is, "+
			"as discovery/consul, discovery/local and discovery/static are, or name the services", router.Describe(n.registry), tag)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	undo := context.AfterFunc(n.group.Context(), func() { cancel(errNodeClosed) })
	end := func() {
		undo()
		cancel(nil)
	}
	found, err := finder.Find(ctx, query)
	if err != nil {
		defer end()
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, discovery.ErrLimit):
			return nil, Errorf(ResourceExhausted, "looking for the tag %q in %s: %w", tag, router.Describe(n.registry), err)
		default:
			return nil, Errorf(Unavailable, "looking for the tag %q in %s: %w", tag, router.Describe(n.registry), err)
		}
	}
	ch := make(chan []string, 1)
	if !n.group.Go(func(context.Context) {
		defer close(ch)
		defer end()
		relay(ctx, found, ch)
	}) {
		end()
		return nil, errNodeClosed
	}
	return ch, nil
}

// relay forwards lists until ctx ends. A newer list replaces one that is unread.
func relay(ctx context.Context, from <-chan []string, to chan []string) {
	for {
		select {
		case list, ok := <-from:
			if !ok {
				// The registry is closed; the last list stays in use.
				<-ctx.Done()
				return
			}
			// Drop an older list that is unread.
			select {
			case <-to:
			default:
			}
			to <- list
		case <-ctx.Done():
			return
		}
	}
}
