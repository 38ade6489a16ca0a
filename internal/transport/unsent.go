package transport

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/internal/wire"
)

const (
	// maxUnsent bounds the routes that are told apart when their replies found no room. A
	// caller that has more of them is refused on all routes.
	maxUnsent = 16
	// trialRate is how many such calls per second may run nevertheless, because the next reply
	// may be a short one. It is low because a reply without room is costly to make.
	trialRate = 16
)

// unsent records which replies to a caller found no room, so that handlers ran in vain. As
// long as there is still no room, and the caller could make some, calls of such routes are
// refused before they run.
type unsent struct {
	// some means that of is not empty. It spares all other calls the lock.
	some atomic.Bool

	mu sync.Mutex // guards of
	of map[routeKey]int64
}

// routeKey is a route as callers name it. The zero value stands for all routes.
type routeKey struct {
	name string
	id   uint64
}

// note records that there was no room for a reply of size bytes.
func (u *unsent) note(h *wire.HeadersView, size int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.of == nil {
		u.of = make(map[routeKey]int64)
	}
	key := routeKey{string(h.Route), h.RouteID}
	if _, known := u.of[key]; !known && len(u.of) >= maxUnsent {
		key = routeKey{}
	}
	u.of[key] = size
	u.some.Store(true)
}

// lacks reports whether there is still no room for a reply as long as the last one on the
// route that found none.
func (u *unsent) lacks(h *wire.HeadersView, room *share.Holder) bool {
	if !u.some.Load() {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, key := range [...]routeKey{{string(h.Route), h.RouteID}, {}} {
		size, known := u.of[key]
		if !known {
			continue
		}
		if room.Lacks(size) {
			return true
		}
		delete(u.of, key)
	}
	u.some.Store(len(u.of) > 0)
	return false
}

// errUnsent is the reason to refuse a call whose reply would find no room.
var errUnsent = errors.New("replies to the caller are waiting to be read, and there is no room for another as long as the last")
