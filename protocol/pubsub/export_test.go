package pubsub

// Bounds and times that comments tell.
const (
	MaxBlock         = maxBlock
	MaxConcurrency   = maxConcurrency
	MaxSubscriptions = maxSubscriptions
	StuckTime        = stuckTime
)
