package wal

import "fmt"

const (
	// spareStep is how many bytes may be appended before the free space is read again.
	spareStep = 4 << 20
	// spareLeast is what compaction needs besides the copies: a new segment, and rounding by the
	// file system.
	spareLeast = 256 << 10
)

// spareLocked returns ErrNoSpace for an append of size bytes that would leave compaction no room. To
// remove the oldest segment, the log copies its live records, so a log that has filled its disk
// completely would be stuck, even if little of it is live. The append counts with its copy, because
// it may itself go to the oldest segment.
func (l *Log) spareLocked(size, copied int64) error {
	if size+copied <= l.spare {
		return nil
	}
	l.spare = 0
	free, ok := l.files.free()
	if !ok {
		return nil
	}
	needed := l.neededLocked() + copied
	if free-needed < size {
		return fmt.Errorf("%w: the disk has %d bytes left, of which compaction may need %d", ErrNoSpace, free, needed)
	}
	l.spare = min(free-needed+copied, spareStep)
	return nil
}

// neededLocked returns how many bytes compaction needs to remove the oldest segment.
func (l *Log) neededLocked() int64 {
	oldest := l.segments[0]
	live := l.ids.oldest[oldest.number]
	return min(live.bytes+int64(live.n)*originSize, oldest.size) + spareLeast
}
