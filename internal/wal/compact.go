package wal

import (
	"errors"
	"fmt"
	"io"
)

// copyBatch is how many bytes of records are copied under one lock, which keeps appends waiting
// about as long as one large append does.
const copyBatch = 128 << 10

// copies are positions of records in the oldest segment that stand at the end of the log as well.
// After a crash between the copy and the removal of its segment they are what Open found; a record
// that has ended and came back, as its end was lost, is not among them.
type copies map[Position]struct{}

func (c copies) add(pos Position) { c[pos] = struct{}{} }

func (c copies) has(pos Position) bool {
	_, ok := c[pos]
	return ok
}

// crowdedLocked says whether compaction is due. At least half of what it passes over is dead then,
// so that in the long run it copies no more bytes than users append.
func (l *Log) crowdedLocked() bool {
	return len(l.segments) > 1 && l.segments[0] != l.sealing && l.frozen == nil && !l.shut && l.wastesLocked()
}

// wastesLocked says whether so much on the disk is dead that it is worth to copy what is not: of
// a disk that has refused an append, less than otherwise.
func (l *Log) wastesLocked() bool {
	slack := l.opts.SegmentBytes / 2
	if l.pressed {
		slack = min(slack, spareLeast)
	}
	return l.disk > 2*l.ids.bytes+slack
}

// pressLocked has compaction make room, after an append was refused. Compaction removes whole
// segments and not the last one, which on a small disk may be the only one: it is ended early.
// So is one that is as long as a file may be.
func (l *Log) pressLocked(why error) {
	l.pressed = true
	early := len(l.segments) == 1 && l.wastesLocked() || tooLong(why)
	if early && l.sealing == nil && l.nextLocked() == nil {
		l.hurry() // the new segment gets its name with the next sync
	}
	l.lookCrowdedLocked()
}

func (l *Log) lookCrowdedLocked() {
	if l.crowdedLocked() {
		select {
		case l.crowded <- struct{}{}:
		default:
		}
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

// compact frees the oldest segment and reports whether it did. Without space for the copies it
// gives up until the next look.
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

// drop removes a segment once everything live in it has been copied. The folder is synced before the
// next one can be removed, so that a crash leaves no hole.
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
	l.spare = 0 // the next one may need more
	l.stats.removed++
	return nil
}

// rescue copies what is live in the segment s and has no copy to the end of the log.
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

// settled waits until the copies are on the disk, and the ends of all that was not copied: without
// its end, a record that is gone would be one that was lost.
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

// pass is skip for compaction.
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

// copyLive appends copies of the live ones among the entries of s. Whether they live is decided
// under the same lock as the append, so no copy can come behind the end of its ID.
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

// copySomeLocked copies as many entries as fit the last segment, at least one.
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
