package pipeline

import "time"

// clock tells the wall time at which it was made plus the monotonic time since. Setting the
// system clock while a queue or a worker runs therefore moves no lease, delay or deadline.
type clock struct {
	// wall is when the clock was made, in nanoseconds since 1970.
	wall  int64
	start time.Time
}

func newClock() clock {
	now := time.Now()
	return clock{now.UnixNano(), now}
}

func (c clock) now() time.Time { return time.Unix(0, c.wall+int64(time.Since(c.start))) }

// process is a clock that is made when the process starts.
var process = newClock() //nolint:gochecknoglobals // a constant of the process

// firstFence returns the base of the fences of a queue. It is higher than every fence of an
// earlier in-memory queue of this process, even if the system clock was set back, because a queue
// gives out fewer than one fence per nanosecond. A durable queue continues from the base in its
// folder if that is higher. For in-memory queues, only the system clock makes the fences of a
// process higher than those of the process before it.
func firstFence() uint64 { return uint64(process.now().UnixNano()) }
