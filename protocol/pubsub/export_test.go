package pubsub

import (
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
	"github.com/linkmesh/link/protocol/pubsub/internal/serve"
)

// Bounds and times that comments tell.
const (
	MaxBlock         = serve.MaxBlock
	MaxSubscriptions = serve.MaxSubscriptions
	MaxConcurrency   = maxConcurrency
	StuckTime        = frame.StuckTime
)
