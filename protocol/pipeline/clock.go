package pipeline

import "time"

// clock tells the time as it was when it was made and what has passed since: a system
// clock that is set while a queue or a worker runs moves no lease, delay or deadline.
type clock struct {
	wall  int64 // when it was made, in nanoseconds since 1970
	start time.Time
}

func newClock() clock {
	now := time.Now()
	return clock{now.UnixNano(), now}
}

func (c clock) now() time.Time { return time.Unix(0, c.wall+int64(time.Since(c.start))) }

// process began when the process did.
var process = newClock() //nolint:gochecknoglobals // a constant of the process

// firstFence is the base of the fences of a queue: higher than those that the queues in
// memory before it in the process have given out, though the system's clock was set back, for a queue gives out
// fewer than one in a nanosecond. A durable queue goes on from what its folder says, if that is
// higher. Nothing but the system's clock tells a process what the one before it gave out for a
// queue in memory.
func firstFence() uint64 { return uint64(process.now().UnixNano()) }
