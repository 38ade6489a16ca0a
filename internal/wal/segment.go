package wal

// segment is one file of the log. The Log's mutex guards its size. The other fields do not change,
// except file, which only the committer and Close close.
type segment struct {
	// number is consecutive; it is valid in this process only.
	number uint32
	base   Position
	size   int64
	// file is nil once everything in it is written and synced.
	file file
}

func (s *segment) name() string { return segmentName(s.base) }

func (s *segment) close() {
	if s.file != nil {
		// The error does not matter, because the file has been synced.
		_ = s.file.Close()
		s.file = nil
	}
}

// newSegment creates a segment under a temporary name, until publish renames it.
func newSegment(fs files, number uint32, base Position) (*segment, error) {
	f, err := fs.create(nextName)
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteAt(segmentHeader(base), 0); err != nil {
		_ = f.Close()
		// If the removal fails, the next create replaces the file.
		_ = fs.remove(nextName)
		return nil, err
	}
	return &segment{number: number, base: base, size: segmentHeaderSize, file: f}, nil
}

// publish syncs a new segment and gives it its name. It must be called only once all earlier segments
// are synced, so that only the last named segment can have an unfinished end.
func (s *segment) publish(fs files) error {
	if err := s.file.Sync(); err != nil {
		return err
	}
	if err := fs.rename(nextName, s.name()); err != nil {
		return err
	}
	return fs.syncDir()
}
