package integration

import "time"

// These are what the comment of package consul tells.
const (
	// checkTTL is the time without a heartbeat after which an instance is out.
	checkTTL = 15 * time.Second
	// heartbeatEvery is the interval of heartbeats.
	heartbeatEvery = 5 * time.Second
	// maxBlocking is the number of watches of one registry that use blocking queries.
	maxBlocking = 24
)
