package balance

// changeLocked makes e the member for the instance with load l, if it matches. A
// nil e means that the instance left.
func (g *Group[T]) changeLocked(l *load, e *Endpoint[T]) {
	part, is := 0, e != nil && g.matches(e)
	if g.base[1].has(l) {
		part = 1
	}
	was := g.base[part].has(l)
	switch {
	case !was && !is:
		return
	case was && is && part == g.partOf(e):
		g.replaceLocked(part, e)
	default:
		if was {
			g.removeLocked(part, l)
		}
		if is {
			g.addLocked(e)
		}
	}
	g.changed = true
}

// partOf returns the part that e belongs to.
func (g *Group[T]) partOf(e *Endpoint[T]) int {
	if g.split && e.zone != g.ward.options.Zone {
		return 1
	}
	return 0
}

func (g *Group[T]) addLocked(e *Endpoint[T]) {
	part, s := g.partOf(e), g.ward.standingLocked(e.load)
	g.base[part].add(e, s)
	g.zones[e.zone]++
	g.weights[e.weight]++
	g.epoch++
	if g.subset {
		g.considerLocked(part, e)
	}
}

func (g *Group[T]) removeLocked(part int, l *load) {
	e, s := g.base[part].endpoint(l), g.ward.standingLocked(l)
	g.base[part].remove(l, s)
	forget(g.zones, e.zone)
	forget(g.weights, e.weight)
	g.epoch++
	// commitLocked replaces the missing one.
	if g.kept[part].has(l) {
		g.kept[part].remove(l, s)
	}
}

func (g *Group[T]) replaceLocked(part int, e *Endpoint[T]) {
	old := g.base[part].endpoint(e.load)
	g.base[part].replace(e)
	if g.kept[part].has(e.load) {
		g.kept[part].replace(e)
	}
	if old.zone != e.zone {
		forget(g.zones, old.zone)
		g.zones[e.zone]++
	}
	if old.weight != e.weight {
		forget(g.weights, old.weight)
		g.weights[e.weight]++
		g.epoch++
	}
}

func forget[K comparable](counts map[K]int, k K) {
	if counts[k]--; counts[k] == 0 {
		delete(counts, k)
	}
}

// commitLocked publishes the changes, if there are any.
func (g *Group[T]) commitLocked() {
	if !g.changed {
		return
	}
	if g.split != g.splitsLocked(g.lenLocked()) {
		g.layOutLocked(g.membersLocked())
	}
	g.selectLocked()
	g.publishLocked()
}

// splitsLocked reports whether a group of n members is split by zone.
func (g *Group[T]) splitsLocked(n int) bool {
	return g.options.ZoneAware && g.ward.optionsLocked().Zone != "" && n >= ZoneMinimum
}

func (g *Group[T]) lenLocked() int { return g.base[0].len() + g.base[1].len() }

func (g *Group[T]) membersLocked() []*Endpoint[T] {
	all := make([]*Endpoint[T], 0, g.lenLocked())
	for i := range g.base {
		for k := range g.base[i].len() {
			all = append(all, *g.base[i].endpoints.at(k))
		}
	}
	return all
}

// layOutLocked rebuilds the pools from members.
func (g *Group[T]) layOutLocked(members []*Endpoint[T]) {
	for i := range 2 {
		g.base[i].clear()
		g.kept[i].clear()
	}
	clear(g.zones)
	clear(g.weights)
	g.seed = hashOf(g.ward.optionsLocked().Self)
	g.split = g.splitsLocked(len(members))
	g.subset = false
	for _, e := range members {
		g.addLocked(e)
	}
	g.selectLocked()
}

func (g *Group[T]) publishLocked() {
	v := &view[T]{
		base:      [2]part[T]{g.base[0].share(), g.base[1].share()},
		split:     g.split,
		subset:    g.subset,
		uniform:   len(g.weights) <= 1,
		slowStart: int64(g.ward.optionsLocked().SlowStart),
		epoch:     g.epoch,
	}
	if g.subset {
		v.kept = [2]part[T]{g.kept[0].share(), g.kept[1].share()}
	}
	if !g.split && g.options.Policy != RoundRobin {
		if v.quick = v.base[0]; g.subset {
			v.quick = v.kept[0]
		}
	}
	if g.split {
		v.local = localShare(g.base[0].len(), g.lenLocked(), len(g.zones))
	}
	if g.options.Policy == RoundRobin {
		for w := range g.weights {
			v.topWeight = max(v.topWeight, float64(w))
		}
	}
	g.view.Store(v)
	g.changed = false
}
