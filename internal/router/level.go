package router

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/linkmesh/link/internal/balance"
	"github.com/linkmesh/link/internal/clock"
	"github.com/linkmesh/link/internal/codes"
	"github.com/linkmesh/link/internal/hash"
	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/internal/policy/limits"
	"github.com/linkmesh/link/internal/spell"
)

// choose decides where the call may go.
func (s *Search) choose(ctx context.Context) error {
	if p := s.service.view.Load().only; p != nil && s.ask.Key == "" && !s.ask.narrows() {
		s.plan, s.keyed, s.levels, s.room = p.plan, p.plan, p.levels, firstPending
		s.limit(s.plan)
		return nil
	}
	s.describe()
	s.request.Random = rand.Uint64() //nolint:gosec // a draw of lots, not a secret
	return s.plot(ctx)
}

// plot plans the call by the current topology. A mirrored copy keeps its plan.
func (s *Search) plot(ctx context.Context) error {
	v := s.service.view.Load()
	if !s.copied {
		s.plan = v.planFor(&s.request, s.ask, clock.Of(s.now))
	}
	// The deadline must be set before settle, which may wait.
	s.limit(s.plan)
	s.levels, s.level = v.path(s.plan, s.ask).levels, 0
	s.look()
	return s.settle(ctx)
}

// planFor returns the plan of a call. A call that asks for a part of the instances
// goes to a target of its rule that has any of them, even if chance or its key
// chose another target.
func (v *view) planFor(r *policy.Request, c *Ask, now int64) *policy.Plan {
	plan := v.plans.Route(r)
	if !c.narrows() || v.serves(plan, c, now) {
		return plan
	}
	for _, other := range plan.Others() {
		if v.serves(other, c, now) {
			return other
		}
	}
	return plan
}

// serves reports whether one of the service's own levels of a plan has an instance
// for the call.
func (v *view) serves(plan *policy.Plan, c *Ask, now int64) bool {
	for _, l := range v.path(plan, c).levels {
		if l.group != nil && l.group.Standing(now) > 0 {
			return true
		}
	}
	return false
}

// describe fills in the request, by which the topology decides.
func (s *Search) describe() {
	random := s.request.Random
	s.request = s.ask.request(s.service.router.cfg.Node.Name)
	s.request.Random = random
}

// start goes to the first level of the call's plan that has an instance.
func (s *Search) start(ctx context.Context) error {
	s.look()
	s.levels, s.level = s.service.view.Load().path(s.plan, s.ask).levels, 0
	return s.settle(ctx)
}

// look begins to go through the instances of a level. A call with a key waits for
// the key's own instance to be connected; other calls take any connected instance.
func (s *Search) look() {
	s.passed, s.room, s.widened = 0, len(s.pending)+firstPending, false
	if s.key.Set {
		s.passed, s.room = maxPassed, len(s.pending)+1
	}
	s.room = min(s.room, maxPending)
}

// further reports whether there is a level after the current one.
func (s *Search) further() bool { return s.ask.Instance == "" && s.level+1 < len(s.levels) }

// descend goes to the next level.
func (s *Search) descend(ctx context.Context) error {
	s.level++
	s.look()
	return s.settle(ctx)
}

// settle goes on from the current level to the first one that takes the call: a
// level with an available instance. A level of one place with some instances out
// passes a share of the calls on, unless no later level has an available instance.
// If no level has one, the first level with an instance that is only ejected is used.
func (s *Search) settle(ctx context.Context) error {
	if s.ask.Instance != "" {
		return nil
	}
	now := clock.Of(s.now)
	// resort is the level to use if no later one will do; spilled means that it has an available instance.
	resort, spilled := -1, false
	for {
		l := &s.levels[s.level]
		last := s.level+1 == len(s.levels)
		if l.other != "" {
			if err := s.enter(ctx, l.other, resort >= 0 || !last); err != nil {
				return err
			}
			continue
		}
		if last && resort < 0 {
			if unheard := s.unheard; unheard != nil && l.group.Standing(now) == 0 {
				// No other level is left, so this service is worth waiting for.
				s.unheard = nil
				if err := unheard.wait(ctx, s.deadline); err != nil {
					return err
				}
				return s.plot(ctx)
			}
			break
		}
		available, total := l.group.Health(now)
		if takes := l.step.Takes(available, total); takes >= 1 || takes > 0 && s.lot() < takes {
			break
		}
		if available > 0 && !spilled || resort < 0 && l.group.Standing(now) > 0 {
			resort, spilled = s.level, available > 0
		}
		if last {
			if resort >= 0 {
				s.level = resort
			}
			break
		}
		s.level++
	}
	s.choosing(s.levels[s.level].plan)
	return nil
}

// lot returns a number from 0 to 1 that decides whether a level passes the call on:
// the same for equal keys, random without a key.
func (s *Search) lot() float64 {
	if key, ok := s.plan.KeyOf(&s.request); ok {
		// This is Fibonacci hashing, of which the upper bits are used.
		h := (key ^ uint64(s.level)) * hash.Golden
		return float64(h>>11) / (1 << 53)
	}
	return rand.Float64() //nolint:gosec // a share is not a secret
}

// choosing makes the key of a plan the one by which instances are picked.
func (s *Search) choosing(plan *policy.Plan) {
	if s.keyed == plan {
		return
	}
	s.keyed, s.key = plan, balance.Key{}
	if key, ok := plan.KeyOf(&s.request); ok {
		s.key = balance.Key{Hash: key, Set: true}
	}
	s.look()
}

// enter replaces the current level with the levels of another service, by that
// service's own plan. If other levels may take the call, a service whose instances
// are not known yet counts as empty.
func (s *Search) enter(ctx context.Context, name string, others bool) error {
	var levels []level
	other, err := s.service.router.Service(name)
	if err == nil {
		select {
		case <-other.known:
		default:
			if !others {
				err = other.wait(ctx, s.deadline)
			} else if s.unheard == nil {
				s.unheard = other
			}
		}
	}
	switch {
	case err != nil && !others:
		return err
	case err == nil && s.unheard != other:
		v := other.view.Load()
		levels = v.path(v.plans.Route(&s.request), s.ask).levels
	}
	if len(s.levels)+len(levels) > maxLevels {
		return errorf(codes.Internal, "the topology leads through more than %d levels", maxLevels)
	}
	s.levels = slices.Concat(s.levels[:s.level], levels, s.levels[s.level+1:])
	// The level was the last one and has been replaced by none.
	if s.level == len(s.levels) {
		s.level--
	}
	return nil
}

// maxLevels bounds the levels of one call. Package topology refuses documents that
// need more than MaxLevels; a call may meet two policies while one replaces the other.
const maxLevels = 2 * limits.MaxLevels

// pick returns an instance of the current level that was not tried.
func (s *Search) pick() (*endpoint, bool) {
	if s.ask.Instance != "" {
		e, ok := s.service.set.Lookup(s.ask.Instance)
		return e, ok && !s.tried.Has(e) && !e.Barred(clock.Of(s.now))
	}
	e, ok := s.levels[s.level].group.Pick(clock.Of(s.now), &s.tried, s.key)
	if due := s.tried.Due(); due != nil {
		s.service.ask(due, s.class)
	}
	return e, ok
}

// none returns the error for a call that has no instance to go to.
func (s *Search) none() *Error {
	if id := s.ask.Instance; id != "" {
		if _, ok := s.service.set.Lookup(id); !ok {
			return errorf(codes.Unavailable, "instance %q of service %q is not in %s, or does not accept calls", id, s.service.name, Describe(s.service.router.cfg.Registry))
		}
		return s.service.none(s.deadline)
	}
	err := s.service.none(s.deadline)
	if err.Code != codes.Unavailable || s.service.set.Len() == 0 {
		return err
	}
	if asked := s.asked(); asked != "" {
		return errorf(codes.Unavailable, "none of the %d instances of service %q matches this call, which is for %s%s; Node.Explain says why", s.service.set.Len(), s.service.name, asked, s.nearTags())
	}
	return err
}

// nearTags proposes existing tags in place of a tag that the call asks for and no instance has.
func (s *Search) nearTags() string {
	for _, tag := range s.ask.Tags {
		text := s.service.nearTags.Propose(tag, maxTagSearches, func() string { return spell.Proposal(tag, maps.Keys(s.service.tags())) })
		if text != "" {
			return text
		}
	}
	return ""
}

// tags returns the tags of the instances, at most spell.MaxNames of them.
func (s *Service) tags() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	tags := make(map[string]bool)
	for _, in := range s.members {
		for _, tag := range in.Tags {
			if tags[tag] = true; len(tags) == spell.MaxNames {
				return tags
			}
		}
	}
	return tags
}

// asked describes which instances the call is for, "" if it is for all of them.
func (s *Search) asked() string {
	var parts []string
	for _, l := range s.plan.Levels {
		if l.Subset == nil && l.Scope == policy.Anywhere && l.Service == s.service.name {
			continue
		}
		parts = append(parts, levelText(l))
	}
	if len(s.ask.Tags) > 0 {
		parts = append(parts, "tags "+strings.Join(s.ask.Tags, " "))
	}
	if s.ask.Zone {
		zone := "this node's zone, which is not set (Config.Tags or LINK_ZONE)"
		if own := s.service.router.locality().Zone; own != "" {
			zone = "zone " + strconv.Quote(own)
		}
		parts = append(parts, zone)
	}
	return strings.Join(parts, ", then ")
}

// levelText returns a name for a level: "subset canary in this zone", "service orders-dr".
func levelText(l policy.Level) string {
	text := "service " + l.Service
	if l.Subset != nil {
		text = "subset " + l.Subset.Name
	}
	if l.Scope != policy.Anywhere {
		text += " in this " + l.Scope.String()
	}
	return text
}
