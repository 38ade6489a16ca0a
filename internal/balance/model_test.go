//go:build !race

package balance

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/linkmesh/link/internal/hash"
)

// The tests of this file do not run under the race detector: each has one goroutine, and costs ten times as much
// there. The detector sees picks beside updates in race_test.go.

// model computes the expected state of a set in a simple, slow way.
type model struct {
	t      *testing.T
	random *rand.Rand
	set    Set[int]
	now    int64
	self   string
	zone   string
	items  map[string]Item[int]
	// keys holds the keys of items, sorted.
	keys   []string
	barred map[string]int64
	groups []modelGroup
}

type modelGroup struct {
	*Group[int]

	modulus int
	options GroupOptions
}

func (g *modelGroup) accepts(v int) bool { return v%g.modulus == 0 }

// TestAgainstTheModel runs random schedules of updates, failures, bars and picks, and
// compares the set with the model after each step.
func TestAgainstTheModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			m := &model{
				t: t, random: rand.New(rand.NewPCG(seed, 0)), now: int64(seed) * second,
				items: make(map[string]Item[int]), barred: make(map[string]int64),
			}
			for range 300 {
				m.step()
				m.check()
				if t.Failed() {
					return
				}
			}
		})
	}
}

func (m *model) step() {
	switch m.random.IntN(12) {
	case 0, 1, 2:
		m.update(1 + m.random.IntN(4))
	case 3:
		m.update(m.random.IntN(80))
	case 4, 5:
		m.now += m.random.Int64N(40 * second)
	case 6:
		m.each(10, func(e *Endpoint[int]) { fail(e, 1+m.random.IntN(6), m.now) })
	case 7, 8:
		m.each(m.random.IntN(60), func(e *Endpoint[int]) {
			until := m.now + m.random.Int64N(60*second)
			e.Bar(until)
			m.barred[e.key] = max(m.barred[e.key], until)
		})
	case 9:
		m.each(20, func(e *Endpoint[int]) {
			e.Unbar()
			delete(m.barred, e.key)
		})
	case 10:
		m.regroup()
	case 11:
		m.self, m.zone = strconv.Itoa(m.random.IntN(3)), []string{"", "a", "b"}[m.random.IntN(3)]
		m.set.Configure(Options{Self: m.self, Zone: m.zone}, m.now)
	}
}

func (m *model) update(n int) {
	var put []Item[int]
	var remove []string
	for range n {
		key := strconv.Itoa(m.random.IntN(200))
		if m.random.IntN(5) < 2 {
			remove = append(remove, key)
			delete(m.items, key)
			delete(m.barred, key)
		}
	}
	for range n {
		item := Item[int]{
			Key: strconv.Itoa(m.random.IntN(200)), Value: m.random.IntN(60),
			Weight: uint32(m.random.IntN(3)), Zone: []string{"", "a", "b", "c"}[m.random.IntN(4)],
		}
		put = append(put, item)
		m.items[item.Key] = item
	}
	m.set.Update(put, remove, m.now)
	m.keys = slices.Sorted(maps.Keys(m.items))
}

// each calls f with n random instances, if there are any.
func (m *model) each(n int, f func(e *Endpoint[int])) {
	for range min(n, len(m.keys)*n) {
		key := m.keys[m.random.IntN(len(m.keys))]
		e, ok := m.set.Lookup(key)
		if !ok {
			m.t.Fatalf("%s is not known", key)
		}
		f(e)
	}
}

func (m *model) regroup() {
	if len(m.groups) > 4 {
		m.set.Release(m.groups[0].Group)
		m.groups = m.groups[1:]
	}
	g := modelGroup{modulus: 1 + m.random.IntN(4)%3, options: GroupOptions{
		Policy: Policy(m.random.IntN(3)), ZoneAware: m.random.IntN(2) == 0,
		Panic: float64(m.random.IntN(3)-1) / 2, Subset: []int{0, 0, 7, -1}[m.random.IntN(4)],
	}}
	g.Group = m.set.Group(g.accepts, g.options, m.now)
	m.groups = append(m.groups, g)
}

func (m *model) check() {
	m.t.Helper()
	if m.set.Len() != len(m.items) {
		m.t.Errorf("Len = %d, want %d", m.set.Len(), len(m.items))
	}
	for i := range m.groups {
		g := &m.groups[i]
		want, available := make(map[string]int), 0
		var unbarred []*Endpoint[int]
		for key, item := range m.items {
			if !g.accepts(item.Value) {
				continue
			}
			want[key] = item.Value
			if m.barred[key] > m.now {
				continue
			}
			e, _ := m.set.Lookup(key)
			unbarred = append(unbarred, e)
			if _, ejected := e.Ejected(m.now); !ejected {
				available++
			}
		}
		if got := members(g.Group); !maps.Equal(got, want) {
			m.t.Errorf("group %d has members %v, want %v", i, got, want)
		}
		if a, n := g.Health(m.now); a != available || n != len(want) {
			m.t.Errorf("group %d: Health = %d of %d, want %d of %d", i, a, n, available, len(want))
		}
		m.checkKept(g, want)
		for range 20 {
			m.checkPick(g, want, unbarred)
		}
	}
}

// checkPick checks one pick after random tries. unbarred holds the members of the group
// that are not barred.
func (m *model) checkPick(g *modelGroup, want map[string]int, unbarred []*Endpoint[int]) {
	m.t.Helper()
	var tried Tried[int]
	m.each(m.random.IntN(MaxTried+1), func(e *Endpoint[int]) { tried.Add(e) })
	// Half of the picks have tried most unbarred members too, so that few are left.
	if m.random.IntN(2) == 0 {
		for _, e := range unbarred {
			if tried.Len() < MaxTried && m.random.IntN(3) > 0 {
				tried.Add(e)
			}
		}
	}
	open := 0
	for _, e := range unbarred {
		if !tried.Has(e) {
			open++
		}
	}
	// Making a table takes 1 ms, so only some groups have picks with a key.
	e, ok := g.Pick(m.now, &tried, Key{Hash: m.random.Uint64(), Set: g.modulus == 2 && m.random.IntN(2) == 0})
	switch {
	case ok != (open > 0):
		m.t.Errorf("Pick = %v, though %d of %d are open; options %+v", ok, open, len(want), g.options)
	case !ok:
	default:
		if current, _ := m.set.Lookup(e.key); e != current {
			m.t.Errorf("picked an endpoint of %s that is not current", e.key)
		}
		if _, is := want[e.key]; !is || m.barred[e.key] > m.now || tried.Has(e) {
			m.t.Errorf("picked %s: member %v, barred until %d at %d, tried %v", e.key, is, m.barred[e.key], m.now, tried.Has(e))
		}
	}
}

// checkKept compares the subset that the group keeps with a ranking of all its members.
func (m *model) checkKept(g *modelGroup, want map[string]int) {
	m.t.Helper()
	got := keptOf(g.Group)
	k := cmp.Or(g.options.Subset, DefaultSubset)
	if g.options.Policy == Hash || k < 0 || len(want) <= SubsetAbove {
		if len(got) != 0 {
			m.t.Errorf("of %d members %d are kept", len(want), len(got))
		}
		return
	}
	parts := [2][]string{}
	for key := range want {
		part := 0
		if g.options.ZoneAware && m.zone != "" && m.items[key].Zone != m.zone {
			part = 1
		}
		parts[part] = append(parts[part], key)
	}
	rank := func(key string) uint64 { return hash.SplitMix(hashOf(key) ^ hashOf(m.self)) }
	for i := range parts {
		slices.SortFunc(parts[i], func(a, b string) int { return cmp.Compare(rank(b), rank(a)) })
	}
	far := min(k/3, len(parts[1]))
	near := min(k-far, len(parts[0]))
	far = min(k-near, len(parts[1]))
	best := slices.Concat(parts[0][:near], parts[1][:far])
	if slices.Sort(best); !slices.Equal(got, best) {
		m.t.Errorf("kept are %v, want %v", got, best)
	}
}
