package router

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/balance"
	"github.com/linkmesh/link/internal/clock"
	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/topology"
)

// Explain reports where a call would go at this moment, and for each instance why it may or may not get the call. It
// blocks until the registry has first answered, ctx ends, or the default timeout of calls has passed. It sends nothing.
func (r *Router) Explain(ctx context.Context, ask *Ask) (topology.Explanation, error) {
	s, err := r.await(ctx, ask.Service)
	if err != nil {
		return topology.Explanation{}, err
	}
	if err := ask.Validate(); err != nil {
		return topology.Explanation{}, err
	}
	request := ask.request(r.cfg.Node.Name)
	request.Random = rand.Uint64() //nolint:gosec // a draw of lots, not a secret
	instances := func(service string) []topology.ExplainedInstance {
		s, err := r.await(ctx, service)
		if err != nil {
			return nil
		}
		return s.explained(ask)
	}
	v, at := s.view.Load(), r.locality()
	var e topology.Explanation
	if ask.Instance != "" {
		e = policy.ExplainInstance(v.policy, ask.Service, request, ask.Instance, at, instances)
	} else {
		plan := v.planFor(&request, ask, clock.Now())
		e = policy.ExplainPlan(v.policy, ask.Service, request, plan, at, instances)
	}
	e.Timeout = cmp.Or(e.Timeout, ask.Timeout)
	return e, nil
}

// explained returns the instances as an explanation shows them, for a call that asks for c.
func (s *Service) explained(c *Ask) []topology.ExplainedInstance {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	out := make([]topology.ExplainedInstance, 0, len(s.members)+len(s.leftOut))
	for _, id := range slices.Sorted(maps.Keys(s.members)) {
		in := s.members[id]
		shown := shownOf(&in.Instance)
		shown.Trouble = s.troubleLocked(in, c, now)
		shown.Note = s.noteLocked(in, now)
		out = append(out, shown)
	}
	for i := range s.snapshot.Instances {
		if in := &s.snapshot.Instances[i]; s.leftOut[in.ID] {
			shown := shownOf(in)
			shown.Trouble, _ = s.router.refused(*in, s.snapshot.Origin)
			out = append(out, shown)
		}
	}
	return out
}

func shownOf(in *discovery.Instance) topology.ExplainedInstance {
	return topology.ExplainedInstance{
		ID: in.ID, Addr: in.Addr, Tags: in.Tags, TagsUnknown: in.TagsUnknown, Meta: in.Meta, Weight: in.Weight,
		Zone: in.Zone(), Region: in.Region(), Datacenter: in.Datacenter(),
	}
}

// troubleLocked returns why an instance gets no call at all, or "" if it may get one.
func (s *Service) troubleLocked(in *instance, c *Ask, now time.Time) string {
	if in.Status == discovery.Draining {
		return "draining"
	}
	if left := in.state.leaving.Load() - clock.Of(now); left > 0 {
		return fmt.Sprintf("draining, as it said; forgotten in %v", time.Duration(left).Round(time.Second))
	}
	named := c.Instance == in.ID
	switch {
	case c.Instance != "" && !named:
		return "the call is for instance " + c.Instance
	case named, in.TagsUnknown:
		// A call to its own instance asks for nothing else.
	case !hasAll(in.Tags, c.Tags):
		return fmt.Sprintf("the call is for tags %q", c.Tags)
	case c.Zone && !policy.SameZone.Contains(s.router.locality(), localityOf(&in.Instance)):
		return "the call is for this zone"
	}
	e, ok := s.set.Lookup(in.ID)
	if !ok {
		return "takes no calls"
	}
	if e.Barred(clock.Of(now)) {
		if t := in.state.trouble.Load(); t != nil {
			return fmt.Sprintf("%v, %v left", t.err, t.until.Sub(now).Round(100*time.Millisecond))
		}
	}
	if until, ok := e.Ejected(clock.Of(now)); ok && !named && s.set.Len() > 1 {
		return fmt.Sprintf("ejected: it failed call after call, %v left", time.Duration(until-clock.Of(now)).Round(100*time.Millisecond))
	}
	return ""
}

// noteLocked describes the state of an instance: its connection, load and latency.
func (s *Service) noteLocked(in *instance, now time.Time) string {
	note := "not connected"
	if in.peer.Live(transport.ClassCalls) != nil || in.peer.Live(transport.ClassBulk) != nil {
		note = "connected"
	}
	if e, ok := s.set.Lookup(in.ID); ok {
		if n := e.InFlight(); n > 0 {
			note += fmt.Sprintf(", %d in flight", n)
		}
		if d := e.Silence(clock.Of(now)); d >= balance.SilenceFloor {
			note += fmt.Sprintf(", no answer for %v", d.Round(10*time.Millisecond))
		}
		if d := e.Latency(clock.Of(now)); d > 0 {
			note += fmt.Sprintf(", %v", d.Round(10*time.Microsecond))
		}
	}
	if in.TagsUnknown {
		note += ", its tags are not known until it is"
	}
	if _, held := s.held[in.ID]; held {
		note += ", held though its registry lost it"
	}
	return note
}
