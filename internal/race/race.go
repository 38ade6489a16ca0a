// Package race tells tests whether the race detector is on: it makes one
// goroutine ten times slower without seeing more of it, forgets what a sync.Pool
// holds, and allocates for itself.
package race
