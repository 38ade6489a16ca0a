package transport

// turnstile is a lock whose holder may wait for the peer for long. It is a channel
// and no mutex, so that in a bubble of testing/synctest those who wait for it do not
// keep the time from passing that its holder waits for.
type turnstile chan struct{}

// Lock takes the lock.
func (t turnstile) Lock() { t <- struct{}{} }

// Unlock gives it back.
func (t turnstile) Unlock() { <-t }
