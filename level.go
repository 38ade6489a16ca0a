package link

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/linkmesh/link/internal/balance"
	"github.com/linkmesh/link/internal/clock"
	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/internal/policy/limits"
	"github.com/linkmesh/link/internal/spell"
)

// choose decides where the call may go.
func (o *outgoing) choose(ctx context.Context) error {
	if p := o.service.view.Load().only; p != nil && o.config.sticky == "" && !o.config.narrows() {
		o.plan, o.keyed, o.levels, o.room = p.plan, p.plan, p.levels, firstPending
		o.limit(o.plan)
		return nil
	}
	o.describe()
	o.request.Random = rand.Uint64() //nolint:gosec // a draw of lots, not a secret
	return o.plot(ctx)
}

// plot plans the call by the current topology. A mirrored copy keeps its plan.
func (o *outgoing) plot(ctx context.Context) error {
	v := o.service.view.Load()
	if !o.copied {
		o.plan = v.planFor(&o.request, &o.config, clock.Of(o.now))
	}
	// The deadline must be set before settle, which may wait.
	o.limit(o.plan)
	o.levels, o.level = v.path(o.plan, &o.config).levels, 0
	o.look()
	return o.settle(ctx)
}

// planFor returns the plan of a call. A call that asks for a part of the instances
// goes to a target of its rule that has any of them, even if chance or its key
// chose another target.
func (v *view) planFor(r *policy.Request, c *callConfig, now int64) *policy.Plan {
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
func (v *view) serves(plan *policy.Plan, c *callConfig, now int64) bool {
	for _, l := range v.path(plan, c).levels {
		if l.group != nil && l.group.Standing(now) > 0 {
			return true
		}
	}
	return false
}

// describe fills in the request, by which the topology decides.
func (o *outgoing) describe() {
	r := &o.request
	r.Kind, r.Name, r.Caller, r.Key = o.Route.Kind.String(), o.Route.Name, o.service.node.cfg.identityName(), o.config.sticky
	r.ReadOnly = o.Route.Level == ReadOnly
	if len(o.Metadata.pairs) > 0 {
		r.Meta = (*lookup)(&o.Metadata)
	}
}

// start goes to the first level of the call's plan that has an instance.
func (o *outgoing) start(ctx context.Context) error {
	o.look()
	o.levels, o.level = o.service.view.Load().path(o.plan, &o.config).levels, 0
	return o.settle(ctx)
}

// look begins to go through the instances of a level. A call with a key waits for
// the key's own instance to be connected; other calls take any connected instance.
func (o *outgoing) look() {
	o.passed, o.room, o.widened = 0, len(o.pending)+firstPending, false
	if o.key.Set {
		o.passed, o.room = maxPassed, len(o.pending)+1
	}
	o.room = min(o.room, maxPending)
}

// further reports whether there is a level after the current one.
func (o *outgoing) further() bool { return o.config.instance == "" && o.level+1 < len(o.levels) }

// descend goes to the next level.
func (o *outgoing) descend(ctx context.Context) error {
	o.level++
	o.look()
	return o.settle(ctx)
}

// settle goes on from the current level to the first one that takes the call: a
// level with an available instance. A level of one place with some instances out
// passes a share of the calls on, unless no later level has an available instance.
// If no level has one, the first level with an instance that is only ejected is used.
func (o *outgoing) settle(ctx context.Context) error {
	if o.config.instance != "" {
		return nil
	}
	now := clock.Of(o.now)
	// resort is the level to use if no later one will do; spilled means that it has an available instance.
	resort, spilled := -1, false
	for {
		l := &o.levels[o.level]
		last := o.level+1 == len(o.levels)
		if l.other != "" {
			if err := o.enter(ctx, l.other, resort >= 0 || !last); err != nil {
				return err
			}
			continue
		}
		if last && resort < 0 {
			if s := o.unheard; s != nil && l.group.Standing(now) == 0 {
				// No other level is left, so this service is worth waiting for.
				o.unheard = nil
				if err := s.wait(ctx, o.deadline); err != nil {
					return err
				}
				return o.plot(ctx)
			}
			break
		}
		available, total := l.group.Health(now)
		if takes := l.step.Takes(available, total); takes >= 1 || takes > 0 && o.lot() < takes {
			break
		}
		if available > 0 && !spilled || resort < 0 && l.group.Standing(now) > 0 {
			resort, spilled = o.level, available > 0
		}
		if last {
			if resort >= 0 {
				o.level = resort
			}
			break
		}
		o.level++
	}
	o.choosing(o.levels[o.level].plan)
	return nil
}

// lot returns a number from 0 to 1 that decides whether a level passes the call on:
// the same for equal keys, random without a key.
func (o *outgoing) lot() float64 {
	if hash, ok := o.plan.KeyOf(&o.request); ok {
		// This is Fibonacci hashing, of which the upper bits are used.
		h := (hash ^ uint64(o.level)) * 0x9e3779b97f4a7c15
		return float64(h>>11) / (1 << 53)
	}
	return rand.Float64() //nolint:gosec // a share is not a secret
}

// choosing makes the key of a plan the one by which instances are picked.
func (o *outgoing) choosing(plan *policy.Plan) {
	if o.keyed == plan {
		return
	}
	o.keyed, o.key = plan, balance.Key{}
	if hash, ok := plan.KeyOf(&o.request); ok {
		o.key = balance.Key{Hash: hash, Set: true}
	}
	o.look()
}

// enter replaces the current level with the levels of another service, by that
// service's own plan. If other levels may take the call, a service whose instances
// are not known yet counts as empty.
func (o *outgoing) enter(ctx context.Context, name string, others bool) error {
	var levels []level
	s, err := o.service.node.service(name)
	if err == nil {
		select {
		case <-s.known:
		default:
			if !others {
				err = s.wait(ctx, o.deadline)
			} else if o.unheard == nil {
				o.unheard = s
			}
		}
	}
	switch {
	case err != nil && !others:
		return err
	case err == nil && o.unheard != s:
		v := s.view.Load()
		levels = v.path(v.plans.Route(&o.request), &o.config).levels
	}
	if len(o.levels)+len(levels) > maxLevels {
		return Errorf(Internal, "the topology leads through more than %d levels", maxLevels)
	}
	o.levels = slices.Concat(o.levels[:o.level], levels, o.levels[o.level+1:])
	// The level was the last one and has been replaced by none.
	if o.level == len(o.levels) {
		o.level--
	}
	return nil
}

// maxLevels bounds the levels of one call. Package topology refuses documents that
// need more than MaxLevels; a call may meet two policies while one replaces the other.
const maxLevels = 2 * limits.MaxLevels

// pick returns an instance of the current level that was not tried.
func (o *outgoing) pick() (*endpoint, bool) {
	if o.config.instance != "" {
		e, ok := o.service.set.Lookup(o.config.instance)
		return e, ok && !o.tried.Has(e) && !e.Barred(clock.Of(o.now))
	}
	e, ok := o.levels[o.level].group.Pick(clock.Of(o.now), &o.tried, o.key)
	if due := o.tried.Due(); due != nil {
		o.service.ask(due, o.class())
	}
	return e, ok
}

// none returns the error for a call that has no instance to go to.
func (o *outgoing) none() error {
	if id := o.config.instance; id != "" {
		if _, ok := o.service.set.Lookup(id); !ok {
			return Errorf(Unavailable, "instance %q of service %q is not in %s, or takes no calls", id, o.service.name, describeRegistry(o.service.node.registry))
		}
		return o.service.none(o.deadline)
	}
	err := o.service.none(o.deadline)
	if CodeOf(err) != Unavailable || o.service.set.Len() == 0 {
		return err
	}
	if asked := o.asked(); asked != "" {
		return Errorf(Unavailable, "none of the %d instances of service %q is for this call, which goes to %s%s; Node.Explain says why", o.service.set.Len(), o.service.name, asked, o.nearTags())
	}
	return err
}

// nearTags proposes existing tags in place of a tag that the call asks for and no instance has.
func (o *outgoing) nearTags() string {
	s := o.service
	for _, tag := range o.config.tags {
		text := s.nearTags.propose(tag, maxTagSearches, func() string { return spell.Proposal(tag, maps.Keys(s.tags())) })
		if text != "" {
			return text
		}
	}
	return ""
}

// tags returns the tags of the instances, at most spell.MaxNames of them.
func (s *service) tags() map[string]bool {
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
func (o *outgoing) asked() string {
	var parts []string
	for _, l := range o.plan.Levels {
		if l.Subset == nil && l.Scope == policy.Anywhere && l.Service == o.service.name {
			continue
		}
		parts = append(parts, levelText(l))
	}
	if len(o.config.tags) > 0 {
		parts = append(parts, "tags "+strings.Join(o.config.tags, " "))
	}
	if o.config.zone {
		zone := "this node's zone, which it does not say (Config.Tags or LINK_ZONE)"
		if own := o.service.node.locality().Zone; own != "" {
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

// lookup is Metadata in the form that package policy reads.
type lookup Metadata

// Get implements policy.Metadata.
func (l *lookup) Get(key string) (string, bool) {
	m := Metadata(*l)
	i, ok := m.find(key)
	if !ok {
		return "", false
	}
	return m.pairs[i].Value, true
}
