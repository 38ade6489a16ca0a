package router

import (
	"context"
	"slices"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/codes"
	"github.com/linkmesh/link/internal/transport"
)

// Instances returns the instances of a service, sorted by ID, which must not be modified. From then on the router follows
// the service. Instances blocks until the registry has first answered, ctx ends, or the default timeout of calls has
// passed.
func (r *Router) Instances(ctx context.Context, name string) ([]discovery.Instance, error) {
	s, err := r.await(ctx, name)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]discovery.Instance, 0, len(s.members))
	for _, in := range s.members {
		out = append(out, in.Instance)
	}
	slices.SortFunc(out, discovery.Instance.Compare)
	return out, nil
}

// await returns a service when its instances and its topology are known.
func (r *Router) await(ctx context.Context, name string) (*Service, error) {
	s, err := r.Service(name)
	if err != nil {
		return nil, err
	}
	return s, s.wait(ctx, time.Now().Add(r.cfg.CallTimeout))
}

// Reach is what is known about the instances that a call may reach.
type Reach struct {
	// Instances counts them, including those that may turn out to lack the required tags.
	Instances int
	// Sessions are connections to those that are connected, one to each.
	Sessions []*transport.Session
	// Trouble is why one of the others could not be connected to, nil if none was tried.
	Trouble *Error
}

// Reach returns what is known at this moment about the instances that a call may reach. It dials nothing. The error says
// why there is none, for which it may wait NamesWait for the registry.
func (r *Router) Reach(ask *Ask) (Reach, error) {
	var search Search
	if err := search.Find(r, ask); err != nil {
		return Reach{}, err
	}
	s := search.service
	select {
	case <-s.known:
	default:
		return Reach{}, errorf(codes.Unavailable, "%s has not yet reported which instances exist", Describe(r.cfg.Registry))
	}
	search.now = time.Now()
	search.deadline, search.dated = search.now.Add(NamesWait), true
	list, unknown := search.reachable()
	if len(list)+len(unknown) == 0 {
		search.plan = s.view.Load().plans.Route(&search.request)
		return Reach{}, search.none()
	}
	out := Reach{Instances: len(list) + len(unknown)}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, in := range list {
		m := s.members[in.ID]
		if m == nil {
			continue
		}
		if session := m.session(); session != nil {
			out.Sessions = append(out.Sessions, session)
		} else if t := m.state.trouble.Load(); t != nil {
			out.Trouble = t.err
		}
	}
	return out, nil
}

// session returns a connection to the instance, nil if there is none that takes calls.
func (in *instance) session() *transport.Session {
	if s := in.peer.Live(transport.ClassBulk); s != nil {
		return s
	}
	return in.peer.Live(transport.ClassCalls)
}
