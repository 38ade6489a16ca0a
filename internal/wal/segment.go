package wal

// segment is one file of the log. Its size is guarded by the Log's mutex; the rest does not change,
// but for the file, which only the committer and Close close.
type segment struct {
	number uint32 // consecutive, in this process only
	base   Position
	size   int64
	file   file // nil once everything in it is written and synced
}

func (s *segment) name() string { return segmentName(s.base) }

func (s *segment) close() {
	if s.file != nil {
		_ = s.file.Close() // everything that matters has been synced
		s.file = nil
	}
}

// newSegment makes a segment that has not got its name yet.
func newSegment(fs files, number uint32, base Position) (*segment, error) {
	f, err := fs.create(nextName)
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteAt(segmentHeader(base), 0); err != nil {
		_ = f.Close()
		_ = fs.remove(nextName) // else the next create does
		return nil, err
	}
	return &segment{number: number, base: base, size: segmentHeaderSize, file: f}, nil
}

// publish syncs a new segment and gives it its name, which must be done only once all segments
// before it are synced: so an unfinished end is possible in the last named segment only.
func (s *segment) publish(fs files) error {
	if err := s.file.Sync(); err != nil {
		return err
	}
	if err := fs.rename(nextName, s.name()); err != nil {
		return err
	}
	return fs.syncDir()
}
