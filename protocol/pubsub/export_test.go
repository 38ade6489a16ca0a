package pubsub

// Bounds and times that comments tell.
const (
	MaxBlock         = maxBlock
	MaxSubscriptions = maxSubscriptions
	MaxWorkers       = maxWorkers
	StuckTime        = stuckTime
)
