package wal

import "fmt"

const (
	// spareStep is how many bytes are appended at the most before the disk is asked again.
	spareStep = 4 << 20
	// spareLeast is what compaction needs beside the copies: a new segment, and what file
	// systems round up to.
	spareLeast = 256 << 10
)

// spareLocked refuses an append of size bytes that would leave compaction no room: to remove
// the oldest segment, the log copies what is live in it. A log that has filled its disk to the
// brim would be stuck, however little of it is live. What is appended counts with its copy, as it
// may belong to the oldest segment itself.
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

// neededLocked is how much room compaction needs to remove the oldest segment.
func (l *Log) neededLocked() int64 {
	oldest := l.segments[0]
	live := l.ids.oldest[oldest.number]
	return min(live.bytes+int64(live.n)*originSize, oldest.size) + spareLeast
}
