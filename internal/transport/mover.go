package transport

import (
	"slices"

	"github.com/linkmesh/link/internal/wire"
)

// Mover decides whether a call that waits for a peer in doubt goes elsewhere. A call that
// does is given up here, and may run twice.
type Mover interface {
	// MayMove reports whether the call can go elsewhere now. It must not block. It is
	// called again while the peer stays in doubt, but only while the call waits, never
	// after the call, and never concurrently.
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

// moveOn lets the call in flight, if any, go elsewhere. From then on the call is watched,
// so that it does not end while its mover is asked.
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
