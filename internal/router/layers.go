package router

import (
	"maps"
	"slices"
	"time"

	"github.com/linkmesh/link/internal/policy"
)

// maxWaiting bounds the documents of a registry that are kept because they may come into force when
// others change. Each of them costs at least one compilation of a policy with every change.
const maxWaiting = 256

// compile compiles layers into a policy, nil if there are none.
func (p *policies) compile(layers map[string]policy.Layer) (*policy.Policy, error) {
	if len(layers) == 0 {
		return nil, nil //nolint:nilnil // nil is the policy of no document
	}
	var ordered []policy.Layer
	if l, ok := layers[originFile]; ok {
		ordered = append(ordered, l)
	}
	for _, origin := range slices.Sorted(maps.Keys(layers)) {
		if origin != originFile && origin != originCode {
			ordered = append(ordered, layers[origin])
		}
	}
	if l, ok := layers[originCode]; ok {
		ordered = append(ordered, l)
	}
	cfg := &p.router.cfg.Topology
	return policy.Compile(policy.Options{AllowRedirect: cfg.AllowRedirect, AllowFaults: cfg.AllowFaults}, ordered...)
}

// replace replaces the layer with the same origin; a nil layer removes it. If the
// result is not a valid policy, everything stays as it is and the log says why.
func (p *policies) replace(origin string, layer *policy.Layer, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.replaceLocked(origin, layer, err)
}

func (p *policies) replaceLocked(origin string, layer *policy.Layer, err error) {
	// A waiting layer of the same origin is older.
	delete(p.waiting, origin)
	if err != nil {
		p.refuseLocked(origin, err, "is invalid; the previous one stays in force")
		return
	}
	next := maps.Clone(p.layers)
	if layer == nil {
		delete(next, origin)
	} else {
		next[origin] = *layer
	}
	result, err := p.compile(next)
	switch {
	case err == nil:
		p.layers = next
	case layer == nil || layer.Trusted:
		result, err = p.yieldLocked(next)
	default:
		if _, alone := p.compile(map[string]policy.Layer{origin: *layer}); alone == nil {
			p.waitLocked(origin, *layer, err, "the previous one stays in force")
			return
		}
	}
	if err != nil {
		p.refuseLocked(origin, err, "is invalid; the previous one stays in force")
		return
	}
	delete(p.problems, origin)
	if last := p.recallLocked(); last != nil {
		result = last
	}
	p.installLocked(origin, result)
}

// yieldLocked puts this node's own layers in force, and those of the registry that are compatible with
// them: whoever can write to a registry must not be able to block a node's own configuration.
func (p *policies) yieldLocked(layers map[string]policy.Layer) (*policy.Policy, error) {
	own, others := make(map[string]policy.Layer), make(map[string]policy.Layer)
	for origin, layer := range layers {
		if layer.Trusted {
			own[origin] = layer
		} else {
			others[origin] = layer
		}
	}
	policy, err := p.compile(own)
	if err != nil {
		return nil, err
	}
	p.layers = own
	out := make(map[string]error)
	if last := p.admitLocked(others, slices.Sorted(maps.Keys(others)), out); last != nil {
		policy = last
	}
	for _, origin := range slices.Sorted(maps.Keys(out)) {
		p.waitLocked(origin, others[origin], out[origin], "it gives way to those of this node itself")
	}
	return policy, nil
}

// recallLocked puts in force the waiting layers that have become compatible with the others. It returns
// the resulting policy, nil if nothing has changed.
func (p *policies) recallLocked() (policy *policy.Policy) {
	for len(p.waiting) > 0 {
		out := make(map[string]error)
		last := p.admitLocked(p.waiting, slices.Sorted(maps.Keys(p.waiting)), out)
		if last == nil {
			return policy
		}
		policy = last
		for origin := range p.waiting {
			if out[origin] == nil {
				delete(p.waiting, origin)
				delete(p.problems, origin)
				p.router.cfg.Logger.Info("link: a topology document that conflicted with others is now in force", "origin", origin)
			}
		}
	}
	return policy
}

// admitLocked puts the layers named by origins in force, in this order, as far as they are compatible with what is in
// force. It stores in out why the others are not. It returns the resulting policy, nil if nothing has changed. It
// bisects the layers to find the incompatible ones, which are few.
func (p *policies) admitLocked(layers map[string]policy.Layer, origins []string, out map[string]error) *policy.Policy {
	if len(origins) == 0 {
		return nil
	}
	next := maps.Clone(p.layers)
	for _, origin := range origins {
		next[origin] = layers[origin]
	}
	policy, err := p.compile(next)
	if err == nil {
		p.layers = next
		return policy
	}
	if len(origins) == 1 {
		out[origins[0]] = err
		return nil
	}
	half := len(origins) / 2
	first := p.admitLocked(layers, origins[:half], out)
	if second := p.admitLocked(layers, origins[half:], out); second != nil {
		return second
	}
	return first
}

// waitLocked keeps a layer that is not compatible with the others, unless maxWaiting wait already.
func (p *policies) waitLocked(origin string, layer policy.Layer, err error, meanwhile string) {
	if len(p.waiting) >= maxWaiting {
		p.router.cfg.Logger.Warn("link: too many topology documents conflict with others; this one is dropped until it is written again", "origin", origin, "limit", maxWaiting)
	} else {
		p.waiting[origin] = layer
	}
	p.refuseLocked(origin, err, "conflicts with others and is not in force until they change; "+meanwhile)
}

// refuseLocked records why a document is not in force, and logs it if the reason is new.
func (p *policies) refuseLocked(origin string, err error, what string) {
	if last := p.problems[origin]; last == nil || last.err.Error() != err.Error() {
		p.router.cfg.Logger.Error("link: a topology document "+what, "origin", origin, "error", err)
	}
	p.problems[origin] = &problem{err, time.Now()}
}

func (p *policies) installLocked(origin string, policy *policy.Policy) {
	p.now.Store(policy)
	p.router.cfg.Logger.Info("link: topology in force", "changed", origin)
	p.sayBoundedLocked(policy)
	for s := range p.router.services.all() {
		s.setPolicy(policy)
		p.reach(s.name, policy)
	}
}

// sayBoundedLocked logs what documents ask for and do not get, each once until it changes.
func (p *policies) sayBoundedLocked(policy *policy.Policy) {
	said := make(map[string]bool)
	for _, note := range policy.Bounded() {
		if said[note.Error()] = true; !p.said[note.Error()] {
			p.router.cfg.Logger.Warn("link: a topology document asks for more than its source is allowed; it was limited", "reason", note)
		}
	}
	p.said = said
}
