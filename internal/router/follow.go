package router

import (
	"context"
	"slices"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/internal/transport"
)

// Follow sends the instances that a call may reach, now and whenever they change, until ctx ends or the router does; then
// the channel is closed.
//
// Only the first level of the topology that has an instance counts; all targets of
// a split count. Instances that drain are left out. Instances that cannot be reached
// at the moment are included, unless only they can tell whether they have the
// required tags.
// The channel holds the newest list only; a list is sorted by ID and must not be
// modified. The first comes when the registry has answered.
func (r *Router) Follow(ctx context.Context, ask *Ask) (<-chan []discovery.Instance, error) {
	s := &Search{}
	if err := s.Find(r, ask); err != nil {
		return nil, err
	}
	unpin := s.service.pin()
	ch := make(chan []discovery.Instance, 1)
	ok := r.cfg.Group.Go(func(closed context.Context) {
		defer close(ch)
		defer unpin()
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(closed, func() { cancel(errClosed) })()
		s.followInto(ctx, ch)
	})
	if !ok {
		unpin()
		return nil, errClosed
	}
	return ch, nil
}

// followInto sends the instances that the call may reach until ctx ends.
func (s *Search) followInto(ctx context.Context, ch chan []discovery.Instance) {
	select {
	case <-s.service.known:
	case <-ctx.Done():
		return
	}
	gather := time.NewTimer(followPause)
	defer gather.Stop()
	again := time.NewTicker(askAgain)
	defer again.Stop()
	var last []discovery.Instance
	for first := true; ; first = false {
		// Ask for changes before looking, so that none is missed.
		changed := s.service.changed()
		now, unknown := s.reachable()
		if asked := ask(unknown); first && len(asked) > 0 {
			awaitAll(ctx, asked, askWait)
			changed = s.service.changed()
			now, unknown = s.reachable()
		}
		if first || !slices.EqualFunc(last, now, discovery.Instance.Equal) {
			last = now
			// Drop an older list that is unread.
			select {
			case <-ch:
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

// followPause is how long changes are collected before they are looked at: a large
// service changes often, and each look goes through all of it.
const followPause = 50 * time.Millisecond

const (
	// askWait is how long the first list waits for instances to announce their tags.
	askWait = 2 * time.Second
	// askAgain is how often instances that could not be reached are dialed again.
	askAgain = 5 * time.Second
)

// ask begins to connect to instances with unknown tags: they announce their tags then,
// and are followed if they match. It returns the dials in progress.
func ask(unknown []*instance) []<-chan struct{} {
	var asked []<-chan struct{}
	for _, in := range unknown {
		if dial, err := in.peer.Connect(transport.ClassBulk); err == nil {
			asked = append(asked, dial.Done())
		}
	}
	return asked
}

// awaitAll waits until all channels are closed, at most for the duration most.
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
// belong to it but whose tags are unknown.
func (s *Search) reachable() (known []discovery.Instance, unknown []*instance) {
	v := s.service.view.Load()
	s.describe()
	plan := v.plans.Route(&s.request)
	// A split divides calls only; all of its targets are followed.
	for _, p := range append([]*policy.Plan{plan}, plan.Others()...) {
		had := len(known)
		for _, l := range v.path(p, s.ask).levels {
			// The instances of another service have another identity.
			if l.group == nil {
				continue
			}
			for e := range l.group.Members() {
				in := e.Value()
				switch id := s.ask.Instance; {
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
	slices.SortFunc(known, discovery.Instance.Compare)
	return slices.CompactFunc(known, func(a, b discovery.Instance) bool { return a.ID == b.ID }), unknown
}
