package wal

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/linkmesh/link/internal/notify"
)

// Recovery describes what Open found.
type Recovery struct {
	Segments int
	// Records counts the records passed to replay.
	Records int
	// Live counts the IDs that have not ended.
	Live int
	End  Position

	// Truncated is how many bytes of an unfinished write were cut off from the end of the file
	// TruncatedFile. They held nothing that had been committed.
	Truncated     int64
	TruncatedFile string

	// Skipped is how many bytes, in how many Regions, were skipped because of Options.Salvage.
	Skipped int64
	Regions int
}

// Open opens the log in the folder dir, which it creates if only its last element is missing. The
// folder must be a real one of mode 0700 that belongs to the user of this process. The files in it
// must be real files of mode 0600 that belong to the same user, each with one name. Otherwise Open
// returns ErrUnsafeDir and changes nothing.
//
// Open passes each record to replay before it returns. This includes records of IDs that have ended,
// as long as they are on disk; the records that end those IDs come later. The Body is valid only
// during the call. If replay returns an error, Open stops and returns it. A nil replay is allowed.
//
// Errors are ErrInvalidOptions, ErrUnsafeDir, ErrLocked, ErrUnsupported, a *DamageError, and those
// of the file system.
func Open(dir string, opts Options, replay func(Record) error) (*Log, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	files, err := openDir(dir)
	if err != nil {
		return nil, fmt.Errorf("wal: open %s: %w", dir, err)
	}
	unlock, err := lockDir(files)
	if err != nil {
		return nil, errors.Join(err, files.Close())
	}
	leave := func() error { return errors.Join(unlock(), files.Close()) }
	l, err := open(dir, files, opts, replay)
	if err != nil {
		_ = leave()
		return nil, err
	}
	l.unlock = leave
	return l, nil
}

// open is Open for any implementation of files. The caller holds the lock of the folder.
func open(dir string, fs files, opts Options, replay func(Record) error) (*Log, error) {
	l := &Log{
		dir:      dir,
		opts:     opts,
		files:    fs,
		unlock:   func() error { return nil },
		requests: requests{urgent: notify.NewFlag(), dirty: notify.NewFlag(), crowded: notify.NewFlag(), refill: notify.NewFlag()},
		ending:   ending{stop: make(chan struct{}), finish: make(chan struct{})},
		ids:      newLiveSet(),
		copied:   make(copies),
		marked:   true,
	}
	l.published.L = &l.mu
	if replay == nil {
		replay = func(Record) error { return nil }
	}
	if err := l.recover(replay); err != nil {
		for _, s := range l.segments {
			s.close()
		}
		return nil, err
	}
	l.durable.Store(uint64(l.end))
	l.recovery.Segments, l.recovery.Live, l.recovery.End = len(l.segments), len(l.ids.entries), l.end
	l.lookCrowdedLocked()
	l.findReserve()
	l.committing.Go(l.commits)
	l.compacting.Go(l.compactions)
	return l, nil
}

// recover reads the folder. Nothing else runs yet, so it takes no lock.
func (l *Log) recover(replay func(Record) error) error {
	bases, err := l.bases()
	if err != nil {
		return err
	}
	for i, base := range bases {
		if i > 0 && base != l.end {
			bad := &recordError{0, "the segment does not begin where the one before it ends", uint64(l.end), uint64(base)}
			if base < l.end || !l.opts.Salvage {
				return bad.damage(l.path(segmentName(base)))
			}
			l.recovery.Regions++
		}
		s := &segment{number: uint32(i), base: base}
		if s.file, err = l.files.open(s.name()); err != nil {
			return err
		}
		l.segments = append(l.segments, s)
		if err := l.read(s, i == len(bases)-1, replay); err != nil {
			return err
		}
		l.disk += s.size
		l.end = s.base + Position(s.size)
		if i < len(bases)-1 {
			s.close()
		}
	}
	if len(bases) > 0 && l.recovery.Regions == 0 {
		// A process that was killed may have left its last writes in the cache.
		if err := l.segments[len(l.segments)-1].file.Sync(); err != nil {
			return err
		}
		return l.files.syncDir()
	}
	// After damage, a new segment lets compaction move the intact records out of the damaged one.
	return l.begin()
}

// begin creates the first segment, or the one after those that were found.
func (l *Log) begin() error {
	number := uint32(len(l.segments))
	if number > 0 {
		last := l.segments[number-1]
		if err := last.file.Sync(); err != nil {
			return err
		}
		last.close()
	}
	s, err := newSegment(l.files, number, l.end)
	if err != nil {
		return err
	}
	l.segments = append(l.segments, s)
	l.disk += s.size
	l.end += Position(s.size)
	return s.publish(l.files)
}

// bases returns the positions of the segments in ascending order. It removes a segment that was never
// published.
func (l *Log) bases() ([]Position, error) {
	names, err := l.files.names()
	if err != nil {
		return nil, err
	}
	var bases []Position
	for _, name := range names {
		if base, ok := parseSegmentName(name); ok {
			bases = append(bases, base)
		}
		if name == nextName {
			if err := l.files.remove(name); err != nil {
				return nil, err
			}
		}
	}
	slices.Sort(bases)
	return bases, nil
}

// read replays one segment.
func (l *Log) read(s *segment, last bool, replay func(Record) error) error {
	path := l.path(s.name())
	size, err := s.file.Size()
	if err != nil {
		return err
	}
	s.size = size
	r := reader{file: s.file, base: s.base, size: size}
	if err := r.header(); err != nil {
		// A segment gets its name after its header is on the disk, so this is not caused by a crash.
		if err := l.skip(&r, err, path); err != nil {
			return err
		}
	}
	var e entry
	for {
		err := r.next(&e)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			if err := l.replayed(s, &e, replay); err != nil {
				return err
			}
			continue
		}
		bad, ok := errors.AsType[*recordError](err)
		if !ok {
			return fmt.Errorf("wal: %s: %w", path, err)
		}
		if last {
			found, err := r.seek(bad.offset)
			if err != nil {
				return fmt.Errorf("wal: %s: %w", path, err)
			}
			if !found {
				return l.truncate(s, bad.offset)
			}
		}
		if err := l.skip(&r, bad, path); err != nil {
			return err
		}
	}
}

// skip skips damaged bytes if the options allow it; otherwise it returns a *DamageError.
func (l *Log) skip(r *reader, err error, path string) error {
	bad, ok := errors.AsType[*recordError](err)
	if !ok {
		return fmt.Errorf("wal: %s: %w", path, err)
	}
	if !l.opts.Salvage {
		return bad.damage(path)
	}
	found, err := r.seek(bad.offset)
	if err != nil {
		return fmt.Errorf("wal: %s: %w", path, err)
	}
	if !found {
		r.offset = r.size
	}
	l.recovery.Regions++
	l.recovery.Skipped += r.offset - bad.offset
	return nil
}

// truncate cuts off the unfinished end of the last segment and syncs, because the next append writes
// to the same place.
func (l *Log) truncate(s *segment, offset int64) error {
	if err := s.file.Truncate(offset); err != nil {
		return fmt.Errorf("wal: cut off the unfinished end: %w", err)
	}
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("wal: cut off the unfinished end: %w", err)
	}
	l.recovery.Truncated, l.recovery.TruncatedFile = s.size-offset, l.path(s.name())
	s.size = offset
	return nil
}

// replayed counts a record that was found and passes it to replay.
func (l *Log) replayed(s *segment, e *entry, replay func(Record) error) error {
	l.marked = e.mark()
	if e.mark() {
		return nil
	}
	oldest := l.segments[0]
	switch {
	case e.End:
		l.ids.end(e.ID)
	case e.flags&flagCopy != 0 && e.from >= oldest.base && !l.opts.Salvage:
		// A crash came between the copy and the removal of the original's segment.
		l.copied.add(e.from)
		l.ids.moved(e.ID, grown(e), oldest.number)
		return nil
	default:
		l.ids.add(e.ID, e.size, s.number)
	}
	l.recovery.Records++
	return replay(e.Record)
}

// grown returns how many more bytes the copy e takes than the record it was copied from.
func grown(e *entry) int64 {
	if e.from == e.Pos {
		return originSize
	}
	return 0
}

func (l *Log) path(name string) string { return filepath.Join(l.dir, name) }
