package transport

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/internal/wire"
)

const (
	// maxUnsent bounds the routes that are told apart of which replies found no room. A
	// caller that has more of them is refused on all.
	maxUnsent = 16
	// trialRate is how many calls a second may run all the same: the next reply may be a short
	// one, and to make one that has no room for it is what costs.
	trialRate = 16
)

// unsent is which replies to a caller found no room: handlers ran for nothing. As long as
// there is none, and the caller could make some, such calls are refused before they run.
type unsent struct {
	some atomic.Bool // there is one, so that all other calls need no lock

	mu sync.Mutex // guards of
	of map[routeKey]int64
}

// routeKey is a route as callers name it. That of all routes is zero.
type routeKey struct {
	name string
	id   uint64
}

// note takes in that there was no room for a reply of so many bytes.
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

// lacks reports whether there is still no room for a reply such as the last on the route.
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

// errUnsent is why a call is refused whose reply would find no room.
var errUnsent = errors.New("replies to it wait to be read and leave no room for one as long as the last")
