package wal

import (
	"errors"
	"fmt"
	"time"
)

// Defaults and limits of Options.
const (
	// DefaultSegmentBytes is large enough that a new segment, which costs four syncs, is rare, and
	// small enough that the live records of one are copied in well under a second.
	DefaultSegmentBytes = 64 << 20
	MinSegmentBytes     = 4 << 10
	MaxSegmentBytes     = 1 << 30

	// DefaultGroupCommit bounds how much a power failure may lose of the records that were not
	// committed.
	DefaultGroupCommit = 10 * time.Millisecond
)

// ErrInvalidOptions says which option of Open is wrong.
var ErrInvalidOptions = errors.New("wal: invalid options")

// Options are the options of Open. The zero value works.
type Options struct {
	// SegmentBytes is the size at which a new segment begins, which also bounds what one Append may
	// write. Zero means DefaultSegmentBytes; other values must be between MinSegmentBytes and
	// MaxSegmentBytes.
	SegmentBytes int64

	// GroupCommit is the longest time that an appended record stays without a sync if nobody commits
	// it. Zero means DefaultGroupCommit. It does not delay commits: after Commit or RequestCommit the
	// log syncs at once if no sync is running; everything that arrives during a sync shares the next
	// one. So the first of many commits is as fast as the disk, and the more there are, the more
	// share a sync.
	GroupCommit time.Duration

	// Reserve is how many bytes of the disk the log keeps for AppendReserved, in a file of its
	// own. The file is removed when the disk is full, and created again when there is room for
	// twice as much. Zero means no reserve.
	Reserve int64

	// SyncEach makes Append return only once its records are on the disk. Concurrent appends still
	// share syncs.
	SyncEach bool

	// Salvage makes Open skip damaged bytes, and count them in Recovery, instead of returning a
	// DamageError. Records in the damaged bytes are lost: an ID whose end was there comes back, and
	// replay may see a record twice, with the same Pos. Compaction removes damaged segments when it
	// reaches them. Salvage is meant to be set once, by a person, with a copy of the folder at hand.
	Salvage bool

	// OnDurable, if set, is called after each sync with the position below which everything is now
	// on the disk, and once with the error if the log freezes. Calls do not overlap. It runs on the
	// goroutine that syncs, so it must not block, call Close or, with SyncEach, call Append.
	OnDurable func(Position, error)
}

func (o Options) withDefaults() (Options, error) {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	if o.SegmentBytes < MinSegmentBytes || o.SegmentBytes > MaxSegmentBytes {
		return o, fmt.Errorf("%w: SegmentBytes %d, want %d to %d", ErrInvalidOptions, o.SegmentBytes, MinSegmentBytes, MaxSegmentBytes)
	}
	if o.GroupCommit == 0 {
		o.GroupCommit = DefaultGroupCommit
	}
	if o.Reserve < 0 || o.Reserve > MaxSegmentBytes {
		return o, fmt.Errorf("%w: Reserve %d, want 0 to %d", ErrInvalidOptions, o.Reserve, MaxSegmentBytes)
	}
	if o.GroupCommit < 0 {
		return o, fmt.Errorf("%w: GroupCommit %v, want a positive time", ErrInvalidOptions, o.GroupCommit)
	}
	return o, nil
}
