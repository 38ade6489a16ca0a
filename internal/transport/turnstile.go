package transport

// turnstile is a lock whose holder may wait for the peer for a long time. It is a
// channel and not a mutex, so that in a bubble of testing/synctest, goroutines that
// wait for it do not stop the clock that its holder waits for.
type turnstile chan struct{}

// Lock takes the lock.
func (t turnstile) Lock() { t <- struct{}{} }

// TryLock takes the lock if it is free, and reports whether it was.
func (t turnstile) TryLock() bool {
	select {
	case t <- struct{}{}:
		return true
	default:
		return false
	}
}

// Unlock releases the lock.
func (t turnstile) Unlock() { <-t }
