package link

import (
	"cmp"
	"hash/maphash"
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// tableParts is how many parts the table of services has. A service that is added or forgotten copies one.
const tableParts = 64

// forgetAhead is how many services are chosen at a time that may give way: the choice goes through all of them.
const forgetAhead = maxServices / 16

// serviceTable holds the services that the node calls. Readers take no lock.
type serviceTable struct {
	seed  maphash.Seed
	parts [tableParts]atomic.Pointer[map[string]*service]
	stale atomic.Int64 // services whose registry cannot be read

	age       atomic.Int64  // how many services were added: what the use of a service is counted in
	forgotten atomic.Uint64 // services that were forgotten
	gaveWay   atomic.Uint64 // those of them that gave way to others

	mu      sync.Mutex // one writer at a time; guards the fields below
	held    int
	longest []unused // those to give way next, the one that was not used for longest first
}

// unused is a service that was not used for long when it was chosen to give way.
type unused struct {
	service *service
	used    int64
}

func (t *serviceTable) part(name string) *atomic.Pointer[map[string]*service] {
	return &t.parts[maphash.String(t.seed, name)%tableParts]
}

// get returns the service called name, nil if it is not known.
func (t *serviceTable) get(name string) *service {
	if m := t.part(name).Load(); m != nil {
		return (*m)[name]
	}
	return nil
}

// all gives the services, in no order.
func (t *serviceTable) all() iter.Seq[*service] {
	return func(yield func(*service) bool) {
		for i := range t.parts {
			m := t.parts[i].Load()
			if m == nil {
				continue
			}
			for _, s := range *m {
				if !yield(s) {
					return
				}
			}
		}
	}
}

// addLocked adds a service that is not in the table.
func (t *serviceTable) addLocked(s *service) {
	t.changeLocked(s.name, s)
	t.held++
}

// removeLocked removes a service that is in the table.
func (t *serviceTable) removeLocked(s *service) {
	t.changeLocked(s.name, nil)
	t.held--
}

// changeLocked puts s into a copy of its part, or takes away who is there.
func (t *serviceTable) changeLocked(name string, s *service) {
	part := t.part(name)
	next := make(map[string]*service)
	if m := part.Load(); m != nil {
		next = maps.Clone(*m)
	}
	if s != nil {
		next[name] = s
	} else {
		delete(next, name)
	}
	part.Store(&next)
}

// victimLocked returns the service that was not used for longest, of those that nobody waits for; nil if there is
// none. One that was chosen and not used since is still the one.
func (t *serviceTable) victimLocked() *service {
	for range 2 {
		for len(t.longest) > 0 {
			u := t.longest[0]
			t.longest = t.longest[1:]
			if s := u.service; s.used.Load() == u.used && s.pins.Load() == 0 && t.get(s.name) == s {
				return s
			}
		}
		t.chooseLocked()
	}
	return nil
}

func (t *serviceTable) chooseLocked() {
	all := make([]unused, 0, t.held)
	for s := range t.all() {
		if s.pins.Load() == 0 {
			all = append(all, unused{s, s.used.Load()})
		}
	}
	slices.SortFunc(all, func(a, b unused) int { return cmp.Compare(a.used, b.used) })
	t.longest = slices.Clone(all[:min(len(all), forgetAhead)])
}
