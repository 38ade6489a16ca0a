package link

import (
	"context"
	"errors"

	"github.com/linkmesh/link/discovery"
)

// FollowTag returns the names of the services, in the node's namespace, that have
// an instance with a tag, and again whenever they change, until ctx ends or the
// node closes; then the channel is closed. It is for patterns that speak to
// whichever services offer something: each is then followed with [Node.Follow], and
// a node makes itself found with [Node.AddTag].
//
// The channel holds the newest list only; a list is sorted and must not be
// modified. The first comes promptly, even if it is empty. The list is a hint, by
// the word of the registry: a service may be in it that has no such instance any
// more, and while the registry cannot be read the last list stands. It has at most
// discovery.MaxServices names, and may have the node's own.
//
// Errors: InvalidArgument if the tag breaks a rule of discovery.Instance.Tags;
// Unimplemented if the registry is not a discovery.Finder; ResourceExhausted and
// Unavailable as the registry says; Unavailable if the node is closed.
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
			"as discovery/consul, discovery/local and discovery/static are, or name the services", describeRegistry(n.registry), tag)
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
			return nil, Errorf(ResourceExhausted, "looking for the tag %q in %s: %w", tag, describeRegistry(n.registry), err)
		default:
			return nil, Errorf(Unavailable, "looking for the tag %q in %s: %w", tag, describeRegistry(n.registry), err)
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

// relay passes on lists, the newest in the place of one that is unread, until ctx
// ends.
func relay(ctx context.Context, from <-chan []string, to chan []string) {
	for {
		select {
		case list, ok := <-from:
			if !ok {
				<-ctx.Done() // the registry is closed; what is known stays
				return
			}
			select {
			case <-to: // unread, and old
			default:
			}
			to <- list
		case <-ctx.Done():
			return
		}
	}
}
