// Package notify has the two ways in which one goroutine wakes others: a [Flag] for one
// that waits, a [Broadcast] for many.
package notify

// Flag wakes one waiter. It remembers one signal, so that a signal is never lost and any
// number of signals before the wait wake it once. A waiter receives from the flag and then
// looks at everything that may have changed. A nil flag blocks waiters, and ignores signals.
//
// All methods are safe for concurrent use.
type Flag chan struct{}

// NewFlag returns a flag without a signal.
func NewFlag() Flag { return make(Flag, 1) }

// Set leaves a signal. It never blocks.
func (f Flag) Set() {
	select {
	case f <- struct{}{}:
	default:
	}
}

// Clear removes the signal, if there is one.
func (f Flag) Clear() {
	select {
	case <-f:
	default:
	}
}

// Broadcast wakes all who wait. A waiter takes the channel of C while it holds the lock under
// which it looked at the state, and waits without the lock; whoever changes the state calls
// All under the same lock. The zero value is ready for use.
//
// A Broadcast has no lock of its own: the lock that guards the state guards it, too.
type Broadcast struct{ change chan struct{} }

// C returns a channel that the next call of All closes.
func (b *Broadcast) C() <-chan struct{} {
	if b.change == nil {
		b.change = make(chan struct{})
	}
	return b.change
}

// All wakes those who wait on a channel that C has returned so far. It costs nothing if there are none.
func (b *Broadcast) All() {
	if b.change != nil {
		close(b.change)
		b.change = nil
	}
}
