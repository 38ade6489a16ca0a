package router

import (
	"cmp"
	"hash/maphash"
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// tableParts is how many parts the table of services has. Adding or forgetting a service copies one part.
const tableParts = 64

// forgetAhead is how many services are chosen at a time to be forgotten next: choosing goes through all services.
const forgetAhead = maxServices / 16

// serviceTable holds the services that the node calls. Readers take no lock.
type serviceTable struct {
	seed  maphash.Seed
	parts [tableParts]atomic.Pointer[map[string]*Service]
	// stale counts the services whose registry cannot be read.
	stale atomic.Int64

	// age counts the services that were added. It is the time scale of service.used.
	age atomic.Int64
	// forgotten counts the services that were forgotten.
	forgotten atomic.Uint64
	// gaveWay counts the services that were forgotten to make room for others.
	gaveWay atomic.Uint64

	mu   sync.Mutex // one writer at a time; guards the fields below
	held int
	// longest are the services to forget next, the least recently used first.
	longest []unused
}

// unused is a service that was chosen to be forgotten, with its service.used at that time.
type unused struct {
	service *Service
	used    int64
}

func (t *serviceTable) part(name string) *atomic.Pointer[map[string]*Service] {
	return &t.parts[maphash.String(t.seed, name)%tableParts]
}

// get returns the service called name, nil if it is not known.
func (t *serviceTable) get(name string) *Service {
	if m := t.part(name).Load(); m != nil {
		return (*m)[name]
	}
	return nil
}

// all yields the services, in no particular order.
func (t *serviceTable) all() iter.Seq[*Service] {
	return func(yield func(*Service) bool) {
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
func (t *serviceTable) addLocked(s *Service) {
	t.changeLocked(s.name, s)
	t.held++
}

// removeLocked removes a service that is in the table.
func (t *serviceTable) removeLocked(s *Service) {
	t.changeLocked(s.name, nil)
	t.held--
}

// changeLocked puts s into a copy of the part of name, or removes name from it if s is nil.
func (t *serviceTable) changeLocked(name string, s *Service) {
	part := t.part(name)
	next := make(map[string]*Service)
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

// victimLocked returns the least recently used service among those without pins; nil if there is none. A service that
// was chosen before and has not been used since is still the right one.
func (t *serviceTable) victimLocked() *Service {
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
