package router

import (
	"fmt"
	"strings"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/local"
	"github.com/linkmesh/link/internal/codes"
	"github.com/linkmesh/link/security"
)

// meeting returns a question about what a service needs so that this node finds it, by tier and registry.
func (r *Router) meeting() string {
	_, here := r.cfg.Registry.(*local.Registry)
	switch tier := r.cfg.Node.Tier; {
	case tier == security.TierDev && here:
		return "is it running on this machine, as the same OS user, in the same namespace? The development tier reaches no further: " +
			"set LINK_CLUSTER_SECRET, and LINK_PEERS or CONSUL_HTTP_ADDR, for all nodes"
	case tier == security.TierDev:
		return "is it running on this machine, as the same OS user, with the same registry and namespace? The development tier reaches no further: " +
			"set LINK_CLUSTER_SECRET for all nodes"
	case here:
		return "is it running on this machine, as the same OS user, with the same namespace and " + proofOf(tier) + "? The local registry reaches no further: " +
			"set LINK_PEERS or CONSUL_HTTP_ADDR for all nodes"
	default:
		return "is it running, with the same registry, namespace and " + proofOf(tier) + " as this node?"
	}
}

// proofOf returns what the nodes of a mesh have in common in a tier.
func proofOf(tier security.Tier) string {
	if tier == security.TierClusterSecret {
		return "LINK_CLUSTER_SECRET"
	}
	return "trust domain"
}

// leftOutLocked returns how many instances are left out and why one of them is, or "" if none is.
func (s *Service) leftOutLocked() string {
	for i := range s.snapshot.Instances {
		if in := &s.snapshot.Instances[i]; s.leftOut[in.ID] {
			why, fix := s.router.refused(*in, s.snapshot.Origin)
			return fmt.Sprintf("%d left out, such as %s at %s: %s; %s", len(s.leftOut), in.ID, in.Addr, why, fix)
		}
	}
	return ""
}

// none returns an error that says why there is no instance to call. It may wait for proposals until the given time.
func (s *Service) none(until time.Time) *Error {
	s.mu.Lock()
	total, draining := len(s.members), 0
	now := time.Now()
	var last *trouble
	for _, in := range s.members {
		if in.Status == discovery.Draining {
			draining++
		}
		if t := in.state.trouble.Load(); t != nil && now.Before(t.until) && (last == nil || t.until.After(last.until)) {
			last = t
		}
	}
	leftOut := s.leftOutLocked()
	stale := ""
	if s.snapshot.Stale {
		stale = "; it cannot be read now (" + s.snapshot.Reason + ")"
	}
	s.mu.Unlock()
	where := Describe(s.router.cfg.Registry)
	switch {
	case total == 0 && leftOut != "":
		return errorf(codes.Unavailable, "no instance of service %q in %s may be called%s: %s", s.name, where, stale, leftOut)
	case total == 0:
		known := "registered"
		if stale != "" {
			known = "known"
		}
		return errorf(codes.Unavailable, "no instance of service %q in namespace %q is "+known+" in %s%s%s; %s (trust domain %s, tier %s)",
			s.name, s.router.cfg.Namespace, where, stale, s.router.names.propose(s.name, until), s.router.meeting(), s.identity.TrustDomain(), s.router.cfg.Node.Tier)
	case last != nil:
		return last.err
	}
	return errorf(codes.Unavailable, "none of the %d instances of service %q in %s accepts calls: %s", total, s.name, where, strings.TrimSpace(fmt.Sprintf("%d draining%s", draining, stale)))
}
