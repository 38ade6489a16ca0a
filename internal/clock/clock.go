// Package clock tells the time on a scale that nobody can set.
//
// The clock of a system is set: by hand, by NTP after a boot, by a hypervisor that
// resumes it. What waits, expires or is compared with the age of something must not
// follow it. A [time.Time] of time.Now does not, for it carries a monotonic reading;
// its UnixNano does. Times that are kept as numbers, for atomic access, are therefore
// those of this package.
//
// Times that others read are those of the system's clock all the same: the time
// stamps of logs and files, and the dates in certificates.
package clock

import "time"

// origin is when the process began, and began what its clock showed then.
var (
	origin = time.Now()        //nolint:gochecknoglobals // a constant of the process
	began  = origin.UnixNano() //nolint:gochecknoglobals // a constant of the process
)

// Now returns the present in nanoseconds: those since 1970, by what the system's
// clock showed when the process began, and by what has passed since. In a
// testing/synctest bubble it is the virtual time.
func Now() int64 { return Of(time.Now()) }

// Of returns t on the scale of [Now], for a t that comes from time.Now of this
// process and has kept its monotonic reading: one that came from Round, UTC, a date
// or the network goes by the system's clock. It is exact within 292 years.
func Of(t time.Time) int64 { return began + int64(t.Sub(origin)) }
