package journal

// What it costs to keep a message in a window, beside its record, and each failure.
const (
	DeliveryCost = deliveryCost
	AttemptCost  = attemptCost
)

// Looked is how many deliveries of its window were looked at for what the subscriber said.
func (c *Cursor) Looked() uint64 { return c.window.looked }
