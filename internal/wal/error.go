package wal

import (
	"errors"
	"fmt"
)

var (
	// ErrClosed is returned by calls on a log that has been closed.
	ErrClosed = errors.New("wal: log is closed")

	// ErrLocked means that another Log, in this process or another, has the folder open.
	ErrLocked = errors.New("wal: folder is in use")

	// ErrUnsafeDir means that other users than that of this process could access the folder or a
	// file in it: it belongs to another user, has a loose mode, or is a link. The message names the
	// path, what is wrong and how to fix it.
	ErrUnsafeDir = errors.New("wal: unsafe folder")

	// ErrUnsupported means that this system has no flock.
	ErrUnsupported = errors.New("wal: not supported on this system")

	// ErrTooLarge is returned for an append that is larger than a segment.
	ErrTooLarge = errors.New("wal: append is too large")

	// ErrNoSpace is returned for an append that does not fit on the disk, into the quota or below the
	// size limit of files. What was written of it has been cut off, the log stays usable, and the
	// append can be retried. An ID that the append was meant to end has ended, so that compaction can
	// free space. It comes back with the next Open unless the end is appended again, or its records
	// are gone. After a crash that follows at once, the first records of a refused append may be found.
	ErrNoSpace = errors.New("wal: no space")
)

// FrozenError is the first error that the disk returned for a write, a sync or a removal. From
// then on the log is frozen: Durable does not advance, and every Append, and every Commit of what is
// not durable, returns this error. Open the folder again once the disk is repaired; it holds
// everything that was reported durable.
//
// A failed sync is never retried: the kernel marks the pages clean and forgets the error, so a
// second sync succeeds over lost data (Rebello et al., "Can Applications Recover from fsync
// Failures?", USENIX ATC 2020).
type FrozenError struct {
	// Op is the operation that failed, such as "write", "sync", "publish" or "compact".
	Op    string
	File  string
	Cause error
}

func (e *FrozenError) Error() string {
	return fmt.Sprintf("wal: log is frozen: %s %s: %v; nothing more is durable: check the disk, then open the log again", e.Op, e.File, e.Cause)
}

// Unwrap returns the cause.
func (e *FrozenError) Unwrap() error { return e.Cause }

// DamageError means that a file of the log differs from what was written, in a way that a crash does
// not explain. Nothing has been changed. Either restore the file from a backup, or keep a copy of
// the folder and open the log once with Options.Salvage.
type DamageError struct {
	File string
	// Offset is where in the file the first bad record begins.
	Offset int64
	Reason string
	// Expected and Actual are checksums, lengths, positions or flags, depending on Reason. Both are
	// zero if Reason compares nothing.
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
