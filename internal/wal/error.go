package wal

import (
	"errors"
	"fmt"
)

var (
	// ErrClosed is returned by calls on a log that has been closed.
	ErrClosed = errors.New("wal: log is closed")

	// ErrLocked says that another Log, in this process or another, has the folder open.
	ErrLocked = errors.New("wal: folder is in use")

	// ErrUnsafeDir says that others than the user of this process could reach into the folder or a
	// file in it: it belongs to another user, has a loose mode, or is a link. The message names the
	// path, what is wrong and how to fix it.
	ErrUnsafeDir = errors.New("wal: unsafe folder")

	// ErrUnsupported says that this system has no flock.
	ErrUnsupported = errors.New("wal: not supported on this system")

	// ErrTooLarge refuses an append that fits no segment.
	ErrTooLarge = errors.New("wal: append is too large")

	// ErrNoSpace refuses an append for which the disk, the quota or the limit on the size of a file
	// has no room. What was written of it has been cut off, the log goes on, and the append can be
	// tried again. An ID that the append was to end has ended, so that compaction can make room; it
	// comes back with the next Open unless the end is appended again, or its records are gone.
	// After a crash that follows at once, the first records of a refused append may be found.
	ErrNoSpace = errors.New("wal: no space")
)

// FrozenError is the first error that the disk returned for a write, a sync or a removal. From
// then on the log is frozen: Durable does not move and every Append and Commit of what is not
// durable returns this error. Open the folder again once the disk is in order; it holds everything
// that was reported durable.
//
// A failed sync is never tried again: the kernel marks the pages clean and forgets the error, so a
// second sync succeeds over lost data (Rebello et al., "Can Applications Recover from fsync
// Failures?", USENIX ATC 2020).
type FrozenError struct {
	Op    string // "write", "sync", "publish", "compact"
	File  string
	Cause error
}

func (e *FrozenError) Error() string {
	return fmt.Sprintf("wal: log is frozen: %s %s: %v; nothing more is durable: check the disk, then open the log again", e.Op, e.File, e.Cause)
}

// Unwrap returns the cause.
func (e *FrozenError) Unwrap() error { return e.Cause }

// DamageError says that a file of the log is not as it was written, in a place that a crash does
// not explain. Nothing has been changed. Either put the file back from a backup, or keep a copy of
// the folder and open the log once with Options.Salvage.
type DamageError struct {
	File   string
	Offset int64 // where in the file the first bad record begins
	Reason string
	// Expected and Actual are checksums, lengths or positions, as Reason says; both zero if it says
	// nothing of the kind.
	Expected, Actual uint64
}

func (e *DamageError) Error() string {
	values := ""
	if e.Expected != e.Actual {
		values = fmt.Sprintf(" (expected %#x, found %#x)", e.Expected, e.Actual)
	}
	return fmt.Sprintf("wal: %s is damaged at offset %d: %s%s; put the file back from a backup, "+
		"or copy the folder and open it once with Salvage, which loses what was there", e.File, e.Offset, e.Reason, values)
}
