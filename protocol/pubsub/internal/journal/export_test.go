package journal

// What it costs to keep a message in a window, beside its record, and each failure.
const (
	DeliveryCost = deliveryCost
	AttemptCost  = attemptCost
)

// Looked is how many deliveries of its window were looked at for what the subscriber said.
func (c *Cursor) Looked() uint64 { return c.window.looked }

// StripOnce takes from a member what it has, as far as one step does, and returns how many
// messages it has left.
func (c *Cursor) StripOnce() int {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	s.strip(c, 0, true)
	return c.window.list.n
}

// WhileLocked calls f while nobody can publish.
func (l *Log) WhileLocked(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}
