// Package wal is an append-only log of records on disk. A durable queue writes to it before it
// accepts a task.
//
// # Overview
//
// A record has a kind, an ID and a body, whose meaning is up to the user. A record is live until its
// ID ends, by another record that has End set. [Open] replays the existing records, [Log.Append]
// writes more, and [Log.Commit] waits until they are on the disk. The log itself rewrites live
// records and removes dead ones. A user keeps one piece of state for each ID: each record creates or
// changes it, and the record that ends the ID deletes it.
//
//	log, err := wal.Open(dir, wal.Options{}, func(r wal.Record) error { … })
//	end, err := log.Append(wal.Record{Kind: task, ID: 7, Body: body})
//	err = log.Commit(ctx, end) // nil: on the disk
//	_, err = log.Append(wal.Record{Kind: done, ID: 7, End: true})
//
// # Guarantees
//
//   - A record below a position that Commit or OnDurable reported is found by every later Open, until
//     its ID has ended. A record that was appended and not committed may or may not be found; of the
//     records of one or several appends, those found are the first ones.
//   - Only appended records are found: each record carries checksums that also cover its position,
//     so old bytes, or a record inside the body of another, are not taken for records.
//   - The bytes that a crash left unfinished at the end of the log are cut off and counted in
//     [Recovery]. Damage anywhere else, or damage followed by a whole record, is a [DamageError] and
//     not skipped. After a crash, damage to the very last record looks like an unfinished write and
//     is treated as such; after [Log.Close] it is detected, because Close writes a mark at the end.
//   - An error of fsync freezes the log: see [FrozenError].
//   - A full disk refuses an append and does no harm: see [ErrNoSpace]. On Linux the log leaves as much room
//     as it needs to remove its oldest segment, so that a disk that it has filled itself does not stay full.
//     A refused append ends the current segment early if that lets compaction free space.
//   - Compaction brings the folder to at most twice the live bytes and one segment, plus what is
//     appended while it runs and the live records of the one segment being copied.
//
// # Order and compaction
//
// Segments are removed from the front only: the live records of the oldest are copied to the end,
// the copies are committed, then the file is removed. A record that ends an ID is thus always removed
// after the records of that ID, and is never copied. A crash between copy and removal leaves both;
// Open then replays the record once.
//
// A copy may follow younger records of its ID. Record.Pos orders them: it is the position at which the
// record was first written, and stays the same in every copy. An ID that has ended must not be reused.
//
// # Format
//
// Integers are little-endian, checksums CRC-32C (Castagnoli). A folder holds the file "lock", which
// an open log keeps locked; the segments; perhaps "next.tmp", a segment that is not in use yet; and
// perhaps "reserve", zeros that reserve room on the disk (Options.Reserve). A position counts bytes
// from the first one the log ever wrote. A segment is named by the position of its own first byte, in
// 16 hexadecimal digits and ".wal", and begins where the previous one ended:
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
//	24  n  body; in a copy, it follows two positions of 8 bytes each: that at which the record was
//	       first written, and that of the record that was copied
//
// A mark has no body and only says that the log was closed.
//
// # Concurrency
//
// A Log is safe for concurrent use. It owns two goroutines, one that syncs and one that compacts;
// Close waits for both. Append itself writes to the operating system, under the log's lock, so that
// the append that fills the disk is the one that fails. Only syncs happen elsewhere, and appends
// continue meanwhile. Segments are not preallocated: measurements showed neither faster writes nor
// faster syncs.
//
// # Errors
//
// Open returns [ErrLocked], [ErrUnsupported], [ErrUnsafeDir] and [DamageError]. Append returns
// [ErrNoSpace], [ErrTooLarge], [ErrClosed] and [FrozenError]. Commit returns [FrozenError] and those
// of the context. Others are those of the file system.
package wal

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/internal/notify"
)

// Position counts bytes of the log, from the first one it ever wrote. Zero is before every record.
type Position uint64

// Record is one entry of the log.
type Record struct {
	// Kind has no meaning to the log.
	Kind byte
	// End ends the ID: its records so far, and this one, are dead.
	End  bool
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

	requests
	ending

	// durable is a Position. The committer writes it under mu.
	durable atomic.Uint64
	// reported is set once OnDurable was told that the log is frozen. Only the committer uses it.
	reported bool

	mu     sync.Mutex // guards the fields below
	shut   bool
	frozen *FrozenError
	chain
	// round wakes those who wait in await when durable or frozen changes.
	round notify.Broadcast
	// waiting is set while a sync is requested through dirty.
	waiting bool
	ids     liveSet
	room
	// copied holds the records of the oldest segment that have a copy.
	copied copies
	// marked is set while the log is empty or ends with a mark.
	marked bool
	stats  counters
}

// requests are what others ask the goroutines of a log to do: urgent for a sync now, dirty for a sync within
// Options.GroupCommit, crowded to check whether compaction is due, refill to create the reserve.
type requests struct {
	urgent  notify.Flag
	dirty   notify.Flag
	crowded notify.Flag
	refill  notify.Flag
}

// ending is how the goroutines of a log end.
type ending struct {
	compacting sync.WaitGroup
	committing sync.WaitGroup
	closing    sync.Once
	// closed is what the first Close returned.
	closed error
	// stop ends compaction; finish, which is closed after that, ends the committer.
	stop   chan struct{}
	finish chan struct{}
}

// chain is the segments of a log.
type chain struct {
	// published is signaled when sealing becomes nil, and when no append can succeed any more.
	published sync.Cond
	// segments is ordered from the oldest to the last one, which takes appends.
	segments []*segment
	// sealing is the last segment but one while the last one is not published.
	sealing *segment
	end     Position
	// buf holds records about to be written. It is reused.
	buf []byte
}

// room is what a log takes of the disk, and what is left there.
type room struct {
	// disk is the size of all segments in bytes.
	disk int64
	// spare is how many bytes may be appended before the free space of the disk is read again.
	spare int64
	// pressed is set after the disk has refused an append, until an Append succeeds. AppendReserved does
	// not reset it.
	pressed bool
	// reserved is set while the reserve is on the disk.
	reserved bool
	// refilled is when the reserve was last requested; it is not requested again for refillPause.
	refilled    time.Time
	refillPause time.Duration
}

// counters are the parts of Stats that only grow.
type counters struct {
	syncs, copies, removed, refused uint64
}

// Stats holds statistics of a log. The counters start with Open.
type Stats struct {
	Segments int
	// DiskBytes is the size of all segments.
	DiskBytes int64
	// LiveBytes is the size of the records whose IDs have not ended.
	LiveBytes int64
	LiveIDs   int

	// End is the position of the next record.
	End Position
	// Durable is the position below which everything is on the disk.
	Durable Position

	Syncs uint64
	// Copies counts the live records that compaction copied.
	Copies uint64
	// Removed counts the segments that compaction removed.
	Removed uint64
	// Refused counts the appends that failed with ErrNoSpace.
	Refused uint64
}

// Stats returns the current statistics.
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

// Close commits what has been appended, waits for the log's goroutines and releases the folder. It
// returns a *FrozenError if the log is frozen. It is idempotent; later calls return what the first
// one did. It must not be called by OnDurable.
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
	l.round.All()
	for _, s := range l.segments {
		s.close()
	}
	err := l.unlock()
	if l.frozen != nil {
		return l.frozen
	}
	return err
}
