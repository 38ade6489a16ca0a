package link

import (
	"context"
	"slices"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/topology"
)

// Follow returns the instances that a route may reach, as the topology says for
// a call with these options, and again whenever they change, until ctx ends or
// the node closes; then the channel is closed. It is for patterns that speak to
// all instances and not to one: a stream to each is opened with [OnInstance].
//
// Of the levels of the topology the first that has an instance counts; of a split,
// all targets do. Instances
// that drain are left out, those that cannot be reached at the moment are not.
// The channel holds the newest list only; a list is sorted by ID and must not be
// modified. The first comes when the registry has said what there is.
//
// Errors: as [Node.Call] before it sends anything.
func (n *Node) Follow(ctx context.Context, r Route, opts ...CallOption) (<-chan []discovery.Instance, error) {
	o := &outgoing{}
	o.init(r, nil, nil, opts)
	if _, err := n.socket(); err != nil {
		return nil, failed("follow "+r.String(), err)
	}
	var err error
	if o.service, err = n.service(r.Service); err != nil {
		return nil, failed("follow "+r.String(), err)
	}
	if err := r.Validate(); err != nil {
		return nil, failed("follow "+r.String(), err)
	}
	ch := make(chan []discovery.Instance, 1)
	ok := n.group.Go(func(closed context.Context) {
		defer close(ch)
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(closed, func() { cancel(errNodeClosed) })()
		o.followInto(ctx, ch)
	})
	if !ok {
		return nil, failed("follow "+r.String(), errNodeClosed)
	}
	return ch, nil
}

// followInto sends the instances that the call may reach until ctx ends.
func (o *outgoing) followInto(ctx context.Context, ch chan []discovery.Instance) {
	select {
	case <-o.service.known:
	case <-ctx.Done():
		return
	}
	gather := time.NewTimer(followPause)
	defer gather.Stop()
	var last []discovery.Instance
	for first := true; ; first = false {
		changed := o.service.changed() // before looking, so that nothing is missed
		now := o.reachable()
		if first || !slices.EqualFunc(last, now, discovery.Instance.Equal) {
			last = now
			select {
			case <-ch: // unread, and old
			default:
			}
			ch <- now
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
		gather.Reset(followPause)
		select {
		case <-gather.C:
		case <-ctx.Done():
			return
		}
	}
}

// followPause is how long changes are gathered before they are looked at: a large
// service changes often, and a look goes through all of it.
const followPause = 50 * time.Millisecond

// reachable returns the instances of the first level that has any.
func (o *outgoing) reachable() []discovery.Instance {
	v := o.service.view.Load()
	o.describe()
	var out []discovery.Instance
	plan := v.plans.Route(&o.request)
	for _, p := range append([]*topology.Plan{plan}, plan.Others()...) { // a split is for calls: all its targets speak
		had := len(out)
		for _, l := range v.path(p, &o.config).levels {
			if l.group == nil {
				continue // another service's instances have another identity
			}
			for e := range l.group.Members() {
				if id := o.config.instance; id == "" || id == e.Key() {
					out = append(out, e.Value().Instance)
				}
			}
			if len(out) > had {
				break
			}
		}
	}
	slices.SortFunc(out, discovery.CompareID)
	return slices.CompactFunc(out, func(a, b discovery.Instance) bool { return a.ID == b.ID })
}
