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
