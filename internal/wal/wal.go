// Package wal is an append-only log of records on disk: what a durable queue writes before it
// promises anything.
//
// # Overview
//
// A record is a kind, an ID and a body; the log knows nothing of what they mean. A record is live
// until its ID ends, which is said by another record, one with End set. [Open] replays the records
// that are there, [Log.Append] writes more, [Log.Commit] waits until they are on the disk, and the
// log itself rewrites what is live and removes what is not. A user holds one piece of state by ID:
// made or changed by each record, gone with the one that ends it.
//
//	log, err := wal.Open(dir, wal.Options{}, func(r wal.Record) error { … })
//	end, err := log.Append(wal.Record{Kind: task, ID: 7, Body: body})
//	err = log.Commit(ctx, end) // nil: on the disk
//	_, err = log.Append(wal.Record{Kind: done, ID: 7, End: true})
//
// # Guarantees
//
//   - A record below a position that Commit or OnDurable reported is found by every later Open, until
//     its ID has ended. A record that was appended and not committed may be found or not; of the
//     records of several appends, or of one, those found are the first ones.
//   - Nothing is found that was not appended: each record carries checksums that also cover its
//     position, so neither old bytes nor a record inside of a body is taken for one.
//   - The bytes that a crash left unfinished at the end of the log are cut off and counted in
//     [Recovery]. What is wrong anywhere else, or is followed by a whole record, is a [DamageError]
//     and not skipped. Damage to the very last record after a crash looks like an unfinished one and
//     is treated as such; after [Log.Close] it is told apart, as Close writes a mark behind it.
//   - An error of fsync freezes the log: see [FrozenError].
//   - A full disk refuses an append and does no harm: see [ErrNoSpace]. On Linux the log leaves as much room
//     as it needs to remove its oldest segment, so that a disk that it has filled itself does not stay full.
//     An append that was refused has a segment end early if that lets compaction make room.
//   - Compaction brings the folder to at most twice the live bytes and one segment. What is appended
//     while it runs, and the live records of the one segment under way, come on top.
//
// # Order and compaction
//
// Segments are removed from the front only: the live records of the oldest are copied to the end,
// the copies are committed, then the file goes. So a record that ends an ID is always removed after
// those that it ends, and is never copied. A crash between copy and removal leaves both; Open then
// passes the record once.
//
// A copy stands behind younger records of its ID. Record.Pos orders them: it is the place of the
// first writing and stays the same in every copy. An ID that has ended must not be used again.
//
// # Format
//
// Integers are little-endian, checksums CRC-32C (Castagnoli). A folder holds the file "lock", which
// an open log keeps locked, the segments, perhaps "next.tmp", a segment not yet in use, and perhaps
// "reserve", zeros that keep room on the disk (Options.Reserve). A position counts bytes from the
// first the log ever wrote. A segment is named by the position of its own first byte, in 16
// hexadecimal digits and ".wal", and begins where the one before it ended:
//
//	0   8  "LINKWAL" and the version, 0x01
//	8   8  position of this byte 0 of the segment
//	16  4  zero
//	20  4  checksum of bytes 0 to 19
//	24     records, without gaps, to the end of the file
//
// A record:
//
//	0   4  checksum of bytes 4 to 23, continued from the two halves of the record's position, XORed
//	       (which stand in for the checksum of what came before)
//	4   4  checksum of the bytes from 24 on
//	8   4  n, the number of bytes from 24 on
//	12  1  kind
//	13  1  flags: 1 ends the ID, 2 is a copy, 4 is a mark
//	14  2  zero
//	16  8  ID
//	24  n  body; in a copy, before it, 8 bytes: position of the first writing, and 8 bytes: of the
//	       record that was copied
//
// A mark has no body and means nothing but that the log was closed.
//
// # Concurrency
//
// A Log is safe for concurrent use. It owns two goroutines, one that syncs and one that compacts;
// Close waits for both. Writes go to the operating system within Append, under the log's lock, so
// that a full disk refuses the very append that met it; only syncs happen elsewhere, and appends go
// on meanwhile. Segments are not preallocated: measured, that made neither writes nor syncs faster.
//
// # Errors
//
// [ErrLocked], [ErrUnsupported], [ErrUnsafeDir] and [DamageError] from Open; [ErrNoSpace],
// [ErrTooLarge], [ErrClosed] and [FrozenError] from Append; the last two and those of the context
// from Commit. Others are those of the file system.
package wal

import (
	"sync"
	"sync/atomic"
	"time"
)

// Position counts bytes of the log, from the first it ever wrote. Zero is before every record.
type Position uint64

// Record is one entry of the log.
type Record struct {
	Kind byte // the user's
	End  bool // ends the ID: its records so far, and this one, are dead
	ID   uint64
	Body []byte

	// Pos is where the record was first written. It orders the records of one ID, copies included.
	// Append ignores it.
	Pos Position
}

// Log is an open log. Its methods are safe for concurrent use.
type Log struct {
	dir      string
	opts     Options
	files    files
	unlock   func() error
	recovery Recovery

	urgent  chan struct{} // holds one wish for a sync now
	dirty   chan struct{} // holds one wish for a sync within Options.GroupCommit
	crowded chan struct{} // holds one wish to look whether compaction is due
	refill  chan struct{} // holds one wish for the reserve

	compacting sync.WaitGroup
	committing sync.WaitGroup
	closing    sync.Once
	closed     error         // what the first Close returned
	stop       chan struct{} // ends compaction
	finish     chan struct{} // ends commits, after compaction

	durable  atomic.Uint64 // Position; written by the committer under mu
	reported bool          // the committer's: OnDurable knows that the log is frozen

	mu        sync.Mutex // guards the fields below
	published sync.Cond  // waits until sealing is nil, or no append can succeed
	shut      bool
	frozen    *FrozenError
	segments  []*segment // oldest first; the last one takes appends
	sealing   *segment   // the last but one, while the last has not got its name
	end       Position
	buf       []byte        // records about to be written; kept for the next ones
	round     chan struct{} // closed when durable or frozen changes; nil when nobody waits
	waiting   bool          // dirty or urgent has been asked for what is not durable
	ids       liveSet
	disk      int64     // bytes of all segments
	spare     int64     // bytes that may be appended before the disk is asked for its room
	pressed   bool      // the disk has refused an append, and taken none since
	copied    copies    // records of the oldest segment that have a copy
	reserved  bool      // the reserve is on the disk
	refilled  time.Time // the reserve was asked for last
	// refillPause is how long it is not asked for after that.
	refillPause time.Duration
	marked      bool // nothing but a mark, or nothing at all, is at the end
	stats       counters
}

// counters are the parts of Stats that only grow.
type counters struct {
	syncs, copies, removed, refused uint64
}

// Stats says how a log is doing.
type Stats struct {
	Segments  int
	DiskBytes int64 // the size of all segments
	LiveBytes int64 // the size of the records whose IDs have not ended
	LiveIDs   int

	End     Position // where the next record goes
	Durable Position // everything below is on the disk

	Syncs   uint64 // since Open, like the rest
	Copies  uint64 // live records copied by compaction
	Removed uint64 // segments removed
	Refused uint64 // appends refused with ErrNoSpace
}

// Stats returns the figures of this moment.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Stats{
		Segments:  len(l.segments),
		DiskBytes: l.disk,
		LiveBytes: l.ids.bytes,
		LiveIDs:   len(l.ids.entries),
		End:       l.end,
		Durable:   l.Durable(),
		Syncs:     l.stats.syncs,
		Copies:    l.stats.copies,
		Removed:   l.stats.removed,
		Refused:   l.stats.refused,
	}
}

// Recovery returns what Open found.
func (l *Log) Recovery() Recovery { return l.recovery }

// Close commits what has been appended, waits for the log's goroutines and gives up the folder. It
// returns a *FrozenError if the log was or became frozen. It is idempotent; later calls return what
// the first one did. It must not be called by OnDurable.
func (l *Log) Close() error {
	l.closing.Do(func() { l.closed = l.close() })
	return l.closed
}

func (l *Log) close() error {
	l.mu.Lock()
	l.shut = true
	l.published.Broadcast()
	l.mu.Unlock()
	close(l.stop)
	l.compacting.Wait()
	l.mark()
	close(l.finish)
	l.committing.Wait()

	l.mu.Lock()
	defer l.mu.Unlock()
	l.wakeLocked()
	for _, s := range l.segments {
		s.close()
	}
	err := l.unlock()
	if l.frozen != nil {
		return l.frozen
	}
	return err
}
