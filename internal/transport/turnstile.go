package transport

// turnstile is a lock whose holder may wait for the peer for long. It is a channel
// and no mutex, so that in a bubble of testing/synctest those who wait for it do not
// keep the time from passing that its holder waits for.
type turnstile chan struct{}

// Lock takes the lock.
func (t turnstile) Lock() { t <- struct{}{} }

// TryLock takes the lock if nobody has it.
func (t turnstile) TryLock() bool {
	select {
	case t <- struct{}{}:
		return true
	default:
		return false
	}
}

// Unlock gives it back.
func (t turnstile) Unlock() { <-t }
