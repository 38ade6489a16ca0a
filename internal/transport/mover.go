package transport

import (
	"slices"

	"github.com/linkmesh/link/internal/wire"
)

// Mover decides for a call that waits for a peer in doubt whether it goes elsewhere. A
// call that does is counted out here, and may run twice.
type Mover interface {
	// MayMove reports whether there is somewhere to go, now. It must not block; while
	// the peer stays in doubt it is asked again. It runs while the call waits, never
	// twice at once, and never after the call.
	MayMove() bool
}

// moveOn lets the calls of a session in doubt go elsewhere.
func (p *leasePool) moveOn() {
	p.mu.Lock()
	all := slices.Clone(p.busy)
	p.mu.Unlock()
	for _, l := range all {
		l.moveOn()
	}
}

// moveOn lets the call that is under way, if there is one, go elsewhere. From then on
// the call is watched, so that it does not end while it is asked.
func (l *lease) moveOn() {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch v := l.phase.Load(); v & phaseMask {
	case phaseIdle, phaseDone:
		return
	case phaseYoung:
		if !l.phase.CompareAndSwap(v, phaseWatched) {
			return
		}
		l.watchLocked()
	}
	if l.moved || l.mover == nil || !l.mover.MayMove() {
		return
	}
	l.moved = true
	l.stop(endMoved, wire.CodeCanceled)
}
