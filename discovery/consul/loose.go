package consul

import (
	"crypto/rand"
	"slices"
)

// maxLoose is the maximum number of IDs of a Registry whose registration has ended while the agent
// may still hold an entry. There are few: a failing agent affects all registrations of a process, but
// a process has only one for each of its nodes.
const maxLoose = 1024

// keepOwner remembers the owner of an entry that the agent may still hold or create, so that this
// process does not mistake the entry for that of another process.
func (r *Registry) keepOwner(id, owner string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.loose[id]; ok {
		r.dropLooseLocked(id)
	}
	if len(r.looseIDs) == maxLoose {
		oldest := r.looseIDs[0]
		r.dropLooseLocked(oldest)
		r.lines.Warn("consul registry: too many instances could not be withdrawn; the oldest is forgotten, and its ID stays taken until Consul notices that its heartbeats have stopped",
			"id", oldest, "limit", maxLoose, "within", checkTTL)
	}
	r.loose[id] = owner
	r.looseIDs = append(r.looseIDs, id)
}

// ownerOf returns the owner for a registration of the ID: the owner of an earlier entry that the
// agent may still hold, or a new one.
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
