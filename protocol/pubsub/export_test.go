package pubsub

import (
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
	"github.com/linkmesh/link/protocol/pubsub/internal/serve"
)

// Bounds and times that comments tell.
const (
	MaxBlock         = serve.MaxBlock
	MaxDurable       = serve.MaxDurable
	MaxSubscriptions = serve.MaxSubscriptions
	MaxConcurrency   = maxConcurrency
	DurableKept      = frame.DurableKept
	StuckTime        = frame.StuckTime
)
