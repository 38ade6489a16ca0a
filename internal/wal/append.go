package wal

import (
	"errors"
	"fmt"
)

// keepBuffer is the largest buffer that the log keeps between appends.
const keepBuffer = 1 << 20

// Append writes records in order and returns the position after the last one, to be passed to Commit.
// It hands them to the operating system and does not wait for the disk, unless Options.SyncEach is
// set or a new segment is needed while the previous one is still being synced. It does not retain
// the records. Either all of them are appended or none. It leaves as much of the disk free as
// compaction needs.
//
// Errors are ErrNoSpace, ErrTooLarge, ErrClosed and *FrozenError.
func (l *Log) Append(records ...Record) (Position, error) {
	return l.append(records, false)
}

// AppendReserved is like Append, but on a full disk it uses the space of Options.Reserve. It is
// meant for records that end IDs, and for the few that are needed to get there.
func (l *Log) AppendReserved(records ...Record) (Position, error) {
	return l.append(records, true)
}

func (l *Log) append(records []Record, reserved bool) (Position, error) {
	l.mu.Lock()
	end, err := l.appendLocked(records, reserved)
	l.mu.Unlock()
	if err == nil && l.opts.SyncEach {
		err = l.await(nil, end)
	}
	return end, err
}

func (l *Log) appendLocked(records []Record, reserved bool) (Position, error) {
	if len(records) == 0 {
		return l.end, l.usableLocked()
	}
	var size int64
	for i := range records {
		size += recordSize(len(records[i].Body))
	}
	if limit := l.opts.SegmentBytes - segmentHeaderSize; size > limit {
		return 0, fmt.Errorf("%w: %d bytes in %d records, a segment holds %d; append less at once or raise SegmentBytes",
			ErrTooLarge, size, len(records), limit)
	}
	copied := size + int64(len(records))*originSize
	var s *segment
	var err error
	if !reserved {
		err = l.spareLocked(size, copied)
	}
	if err == nil {
		s, err = l.writeRecordsLocked(records, size)
	}
	if reserved && errors.Is(err, ErrNoSpace) && l.useReserveLocked() {
		s, err = l.writeRecordsLocked(records, size)
	}
	if err != nil {
		return 0, l.refuseLocked(records, err)
	}
	for i := range records {
		if records[i].End {
			l.ids.end(records[i].ID)
		} else {
			l.ids.add(records[i].ID, recordSize(len(records[i].Body)), s.number)
		}
	}
	l.spare -= size + copied
	l.pressed = l.pressed && reserved
	l.marked = false
	l.lookCrowdedLocked()
	l.lookReserveLocked()
	return l.end, nil
}

// writeRecordsLocked writes records, which take size bytes in total, and returns their segment.
func (l *Log) writeRecordsLocked(records []Record, size int64) (*segment, error) {
	s, err := l.roomLocked(size)
	if err != nil {
		return nil, err
	}
	at := l.end
	for i := range records {
		flags := byte(0)
		if records[i].End {
			flags = flagEnd
		}
		l.buf = appendRecord(l.buf, at+Position(len(l.buf)), records[i], flags, origin{})
	}
	return s, l.writeLocked(s)
}

// roomLocked returns the segment that takes the next size bytes. It may release the lock and wait;
// the end of the log may move meanwhile.
func (l *Log) roomLocked(size int64) (*segment, error) {
	for {
		if err := l.usableLocked(); err != nil {
			return nil, err
		}
		last := l.segments[len(l.segments)-1]
		if last.size+size <= l.opts.SegmentBytes || last.size == segmentHeaderSize {
			return last, nil
		}
		if l.sealing != nil {
			l.urgent.Set()
			l.published.Wait()
			continue
		}
		if err := l.nextLocked(); err != nil {
			return nil, err
		}
	}
}

// nextLocked starts a new segment. No other segment may be sealing.
func (l *Log) nextLocked() error {
	last := l.segments[len(l.segments)-1]
	next, err := newSegment(l.files, last.number+1, l.end)
	if err != nil {
		if noRoom(err) {
			return fmt.Errorf("%w: new segment: %w", ErrNoSpace, err)
		}
		return l.freezeLocked("create", l.path(nextName), err)
	}
	l.sealing = last
	l.segments = append(l.segments, next)
	l.disk += next.size
	l.end += Position(next.size)
	return nil
}

func (l *Log) usableLocked() error {
	switch {
	case l.frozen != nil:
		return l.frozen
	case l.shut:
		return ErrClosed
	default:
		return nil
	}
}

// writeLocked appends l.buf to s, the last segment. If there is no space, it truncates s to its
// previous size.
func (l *Log) writeLocked(s *segment) error {
	buf := l.buf
	if l.buf = buf[:0]; cap(buf) > keepBuffer {
		l.buf = nil
	}
	_, err := s.file.WriteAt(buf, s.size)
	if err == nil {
		s.size += int64(len(buf))
		l.disk += int64(len(buf))
		l.end += Position(len(buf))
		l.dirtyLocked()
		return nil
	}
	if !noRoom(err) {
		return l.freezeLocked("write", l.path(s.name()), err)
	}
	// A partial write may contain whole records, which a later Open must not find.
	if cutErr := s.file.Truncate(s.size); cutErr != nil {
		return l.freezeLocked("cut off a refused append in", l.path(s.name()), fmt.Errorf("%w, after %w", cutErr, err))
	}
	return fmt.Errorf("%w: %w", ErrNoSpace, err)
}

// refuseLocked counts an append that found no room, and ends the IDs that it was meant to end.
func (l *Log) refuseLocked(records []Record, err error) error {
	if l.usableLocked() != nil {
		return err
	}
	l.stats.refused++
	for i := range records {
		if records[i].End {
			l.ids.end(records[i].ID)
		}
	}
	l.pressLocked(err)
	return fmt.Errorf("%w; append again once %s has room", err, l.dir)
}

// mark appends a mark, which tells that everything before it was written in full.
func (l *Log) mark() {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.segments[len(l.segments)-1]
	if l.frozen != nil || l.marked || s.size+recordHeaderSize > l.opts.SegmentBytes {
		return
	}
	l.buf = appendRecord(l.buf, l.end, Record{}, flagMark, origin{})
	// The error is ignored: without a mark, damage to the last record only looks like an unfinished write.
	_ = l.writeLocked(s)
}
