package consul

import (
	"crypto/rand"
	"slices"
)

// maxLoose bounds the IDs of a Registry whose registration has ended without its being known
// whether the agent holds it. They are few: an agent that is ill stops all registrations of a process,
// which has as many as it has nodes.
const maxLoose = 1024

// keepOwner remembers by whom the agent may come to hold an ID, so that this process does not take
// it for another's.
func (r *Registry) keepOwner(id, owner string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.loose[id]; ok {
		r.dropLooseLocked(id)
	}
	if len(r.looseIDs) == maxLoose {
		oldest := r.looseIDs[0]
		r.dropLooseLocked(oldest)
		r.lines.warn("consul registry: too many instances could not be withdrawn; the oldest is forgotten, and its ID counts as another's until Consul has seen that its heartbeats have ended",
			"id", oldest, "limit", maxLoose, "within", CheckTTL)
	}
	r.loose[id] = owner
	r.looseIDs = append(r.looseIDs, id)
}

// ownerOf returns the owner for a registration of the ID: that of what the agent may hold of an
// earlier one, or a new one.
func (r *Registry) ownerOf(id string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if owner, ok := r.loose[id]; ok {
		return owner
	}
	return rand.Text()
}

func (r *Registry) dropLooseLocked(id string) {
	delete(r.loose, id)
	r.looseIDs = slices.DeleteFunc(r.looseIDs, func(other string) bool { return other == id })
}
