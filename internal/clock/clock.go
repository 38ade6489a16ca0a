// Package clock returns times that do not change when the system's clock is set.
//
// The clock of a system can be set: by hand, by NTP after a boot, by a hypervisor that
// resumes it. Timeouts, expiries and ages must not follow it. A [time.Time] of time.Now
// does not, because it has a monotonic reading, but its UnixNano does. Times that are
// stored as numbers, for atomic access, are therefore the times of this package.
//
// Times that others read still follow the system's clock: the timestamps of logs and
// files, and the dates in certificates.
package clock

import "time"

// origin is the start time of the process, and began the reading of the system's clock then.
var (
	origin = time.Now()        //nolint:gochecknoglobals // a constant of the process
	began  = origin.UnixNano() //nolint:gochecknoglobals // a constant of the process
)

// Now returns the current time in nanoseconds since 1970: the reading of the system's
// clock when the process started, plus the monotonic time since then. In a
// testing/synctest bubble it is the virtual time.
func Now() int64 { return Of(time.Now()) }

// Of returns t on the scale of [Now]. It requires that t comes from time.Now of this
// process and has its monotonic reading: a time from Round, UTC, a date or the network
// follows the system's clock. The result is exact within 292 years.
func Of(t time.Time) int64 { return began + int64(t.Sub(origin)) }
