package link

import (
	"context"
	"slices"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/topology"
)

// Follow returns the instances that a route may reach, as the topology says for
// a call with these options, and again whenever they change, until ctx ends or
// the node closes; then the channel is closed. It is for patterns that speak to
// all instances and not to one: a stream to each is opened with [OnInstance].
//
// Of the levels of the topology the first that has an instance counts; of a split,
// all targets do. Instances
// that drain are left out, those that cannot be reached at the moment are not, unless
// only they can say whether they have the tags that count.
// The channel holds the newest list only; a list is sorted by ID and must not be
// modified. The first comes when the registry has answered.
//
// Errors: as [Node.Call] before it sends anything.
func (n *Node) Follow(ctx context.Context, r Route, opts ...CallOption) (<-chan []discovery.Instance, error) {
	o := &outgoing{}
	o.init(r, nil, nil, opts)
	if _, err := n.socket(); err != nil {
		return nil, failed("follow "+r.String(), err)
	}
	if err := r.Validate(); err != nil {
		return nil, failed("follow "+r.String(), err)
	}
	var err error
	if o.service, err = n.service(r.Service); err != nil {
		return nil, failed("follow "+r.String(), err)
	}
	unpin := o.service.pin()
	ch := make(chan []discovery.Instance, 1)
	ok := n.group.Go(func(closed context.Context) {
		defer close(ch)
		defer unpin()
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(closed, func() { cancel(errNodeClosed) })()
		o.followInto(ctx, ch)
	})
	if !ok {
		unpin()
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
	again := time.NewTicker(askAgain)
	defer again.Stop()
	var last []discovery.Instance
	for first := true; ; first = false {
		changed := o.service.changed() // before looking, so that nothing is missed
		now, unknown := o.reachable()
		if asked := ask(unknown); first && len(asked) > 0 {
			awaitAll(ctx, asked, askWait)
			changed = o.service.changed()
			now, unknown = o.reachable()
		}
		if first || !slices.EqualFunc(last, now, discovery.Instance.Equal) {
			last = now
			select {
			case <-ch: // unread, and old
			default:
			}
			ch <- now
		}
		retry := again.C
		if len(unknown) == 0 {
			retry = nil
		}
		select {
		case <-changed:
		case <-retry:
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

// How long the first list waits for what instances say of their tags, and how often
// those are asked that could not be reached.
const (
	askWait  = 2 * time.Second
	askAgain = 5 * time.Second
)

// ask begins to connect to instances whose tags nobody knows: they say them, and are
// followed then if they are meant. It returns the dials under way.
func ask(unknown []*instance) []<-chan struct{} {
	var asked []<-chan struct{}
	for _, in := range unknown {
		if dial, err := in.peer.Connect(transport.ClassBulk); err == nil {
			asked = append(asked, dial.Done())
		}
	}
	return asked
}

// awaitAll waits until all channels are closed, for so long at the most.
func awaitAll(ctx context.Context, all []<-chan struct{}, most time.Duration) {
	patience := time.NewTimer(most)
	defer patience.Stop()
	for _, done := range all {
		select {
		case <-done:
		case <-patience.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// reachable returns the instances of the first level that has any, and those that may
// belong to it but whose tags nobody knows.
func (o *outgoing) reachable() (known []discovery.Instance, unknown []*instance) {
	v := o.service.view.Load()
	o.describe()
	plan := v.plans.Route(&o.request)
	for _, p := range append([]*topology.Plan{plan}, plan.Others()...) { // a split is for calls: all its targets speak
		had := len(known)
		for _, l := range v.path(p, &o.config).levels {
			if l.group == nil {
				continue // another service's instances have another identity
			}
			for e := range l.group.Members() {
				in := e.Value()
				switch id := o.config.instance; {
				case id != "" && id != in.ID:
				case l.match != nil && in.TagsUnknown:
					unknown = append(unknown, in)
				default:
					known = append(known, in.Instance)
				}
			}
			if len(known) > had {
				break
			}
		}
	}
	slices.SortFunc(known, discovery.CompareID)
	return slices.CompactFunc(known, func(a, b discovery.Instance) bool { return a.ID == b.ID }), unknown
}
