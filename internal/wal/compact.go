package wal

import (
	"errors"
	"fmt"
	"io"
)

// copyBatch is how many bytes of records are copied while the lock is held. Appends wait for it
// about as long as for one large append.
const copyBatch = 128 << 10

// copies holds the positions of records in the oldest segment that have a copy at the end of the log.
// If a crash came between the copies and the removal of the segment, Open fills it. A record that has
// ended and came back, because its end was lost, is not in it.
type copies map[Position]struct{}

func (c copies) add(pos Position) { c[pos] = struct{}{} }

func (c copies) has(pos Position) bool {
	_, ok := c[pos]
	return ok
}

// crowdedLocked reports whether compaction is due. At least half of what it reads is dead then, so
// that in the long run it copies no more bytes than users append.
func (l *Log) crowdedLocked() bool {
	return len(l.segments) > 1 && l.segments[0] != l.sealing && l.frozen == nil && !l.shut && l.wastesLocked()
}

// wastesLocked reports whether so many bytes on the disk are dead that copying the live ones is
// worth it. After the disk has refused an append, fewer dead bytes are enough.
func (l *Log) wastesLocked() bool {
	slack := l.opts.SegmentBytes / 2
	if l.pressed {
		slack = min(slack, spareLeast)
	}
	return l.disk > 2*l.ids.bytes+slack
}

// pressLocked makes compaction free space after an append was refused. Compaction removes whole
// segments but never the last one. On a small disk the last segment may be the only one, so it is
// ended early. A segment that has reached the largest size of a file is ended, too.
func (l *Log) pressLocked(why error) {
	l.pressed = true
	early := len(l.segments) == 1 && l.wastesLocked() || tooLong(why)
	if early && l.sealing == nil && l.nextLocked() == nil {
		// The next sync publishes the new segment.
		l.urgent.Set()
	}
	l.lookCrowdedLocked()
}

func (l *Log) lookCrowdedLocked() {
	if l.crowdedLocked() {
		l.crowded.Set()
	}
}

// compactions is the goroutine that compacts.
func (l *Log) compactions() {
	for {
		select {
		case <-l.stop:
			return
		case <-l.refill:
			l.makeReserve()
			continue
		case <-l.crowded:
		}
		for l.compact() {
		}
	}
}

// compact removes the oldest segment if compaction is due, and reports whether it did. Without space
// for the copies it gives up until it is triggered again.
func (l *Log) compact() bool {
	l.mu.Lock()
	due := l.crowdedLocked()
	oldest := l.segments[0]
	dead := len(l.copied) == 0 && l.ids.oldest[oldest.number].n == 0
	l.mu.Unlock()
	if !due {
		return false
	}
	var err error
	if !dead {
		err = l.rescue(oldest)
	}
	if err == nil {
		err = l.settled()
	}
	if err != nil {
		if !errors.Is(err, ErrNoSpace) && !errors.Is(err, ErrClosed) {
			l.freeze("compact", oldest, err)
		}
		return false
	}
	if err := l.drop(oldest); err != nil {
		l.freeze("remove", oldest, err)
		return false
	}
	return true
}

func (l *Log) freeze(op string, s *segment, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.freezeLocked(op, l.path(s.name()), err)
}

// drop removes the oldest segment once everything live in it has been copied. It syncs the folder
// before the next segment can be removed, so that a crash leaves no hole.
func (l *Log) drop(s *segment) error {
	if err := l.files.remove(s.name()); err != nil {
		return err
	}
	if err := l.files.syncDir(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments = append(l.segments[:0], l.segments[1:]...)
	l.disk -= s.size
	clear(l.copied)
	l.ids.dropped()
	// The next oldest segment may need more room.
	l.spare = 0
	l.stats.removed++
	return nil
}

// rescue copies the live records of s that have no copy yet to the end of the log.
func (l *Log) rescue(s *segment) error {
	f, err := l.files.open(s.name())
	if err != nil {
		return err
	}
	defer f.Close()
	r := reader{file: f, base: s.base, size: s.size}
	if err := r.header(); err != nil {
		if err := l.pass(&r, err, s); err != nil {
			return err
		}
	}
	var (
		batch []entry
		size  int64
		e     entry
	)
	for {
		err := r.next(&e)
		if err != nil && !errors.Is(err, io.EOF) {
			if err := l.pass(&r, err, s); err != nil {
				return err
			}
			continue
		}
		if err == nil && !e.End && !e.mark() {
			kept := e
			kept.Body = append([]byte(nil), e.Body...)
			batch = append(batch, kept)
			size += e.size
		}
		if err == nil && size < copyBatch {
			continue
		}
		if err := l.copyLive(s, batch); err != nil {
			return err
		}
		batch, size = batch[:0], 0
		if err != nil {
			break
		}
	}
	return nil
}

// settled waits until the copies are on the disk, and the ends of all records that were not copied:
// a record that is removed before its end is durable would be lost.
func (l *Log) settled() error {
	l.mu.Lock()
	end := l.end
	l.mu.Unlock()
	if err := l.await(l.stop, end); err != nil {
		return err
	}
	if l.Durable() < end {
		return ErrClosed
	}
	return nil
}

// pass is like skip, but for compaction: it does not count what it skips in Recovery.
func (l *Log) pass(r *reader, err error, s *segment) error {
	bad, ok := errors.AsType[*recordError](err)
	if !ok {
		return err
	}
	if !l.opts.Salvage {
		return bad.damage(l.path(s.name()))
	}
	found, err := r.seek(bad.offset)
	if err != nil {
		return err
	}
	if !found {
		r.offset = r.size
	}
	return nil
}

// copyLive appends copies of those entries of s that are live. It decides which are live under the
// same lock as the append, so that no copy can follow the end of its ID.
func (l *Log) copyLive(s *segment, batch []entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(batch) > 0 {
		n, err := l.copySomeLocked(s, batch)
		if err != nil {
			return err
		}
		batch = batch[n:]
	}
	return nil
}

// copySomeLocked copies as many entries as fit into the last segment, at least one, and returns how
// many it has dealt with.
func (l *Log) copySomeLocked(s *segment, batch []entry) (int, error) {
	first := batch[0].size + originSize
	last, err := l.roomLocked(first)
	if err != nil {
		return 0, err
	}
	free := max(first, l.opts.SegmentBytes-last.size)
	n := 0
	for ; n < len(batch); n++ {
		e := &batch[n]
		from := s.base + Position(e.offset)
		if !l.ids.has(e.ID) || l.copied.has(from) {
			continue
		}
		if int64(len(l.buf))+e.size+originSize > free {
			break
		}
		l.buf = appendRecord(l.buf, l.end+Position(len(l.buf)), e.Record, flagCopy, origin{e.Pos, from})
	}
	if len(l.buf) == 0 {
		return n, nil
	}
	if err := l.writeLocked(last); err != nil {
		return 0, fmt.Errorf("copy live records: %w", err)
	}
	for i := range batch[:n] {
		e := &batch[i]
		if e.from = s.base + Position(e.offset); l.ids.has(e.ID) && !l.copied.has(e.from) {
			l.ids.moved(e.ID, grown(e), s.number)
			l.copied.add(e.from)
			l.stats.copies++
		}
	}
	return n, nil
}
