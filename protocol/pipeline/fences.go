package pipeline

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/wal"
)

// A durable queue gives no fence twice, so the base of a run is on disk before its first task is
// sent. A disk that is too full for it must not stop a queue from being drained, which makes
// room. Such a run takes a byte off a file that an earlier one made, which needs no room, and
// the length of the file says how many bases are used that are not written.
const (
	// fencesName is the file, beside those of the log.
	fencesName = "fences"
	// spareFences is how long it is made: so many runs in a row may find the disk full. One more
	// waits for room before it sends anything.
	spareFences = 64
)

// fences is that file.
type fences struct {
	path string
	left int64 // how long it is; 0 if it is not there
}

func openFences(folder string) *fences {
	f := &fences{path: filepath.Join(folder, fencesName)}
	if info, err := os.Lstat(f.path); err == nil && info.Mode().IsRegular() {
		f.left = min(info.Size(), spareFences)
	}
	return f
}

// next is the base after the one that is written and those that may have been used since. Without
// the file that may be all of them.
func (f *fences) next(written uint64) uint64 {
	return written + fenceStep*uint64(1+spareFences-f.left)
}

// take has the next run begin with another base. It reports whether it will.
func (f *fences) take() bool {
	if f.left == 0 {
		return false
	}
	f.left--
	return f.set(f.left) == nil
}

// errUnnumbered is why a queue sends nothing.
var errUnnumbered = link.Errorf(link.ResourceExhausted, "the queue sends no task before its disk has room to write where its fences begin, or one might be given twice")

// fill makes the file as long as it is to be, once a base is written. If there is no room for
// that, fewer runs may find the disk full.
func (f *fences) fill() {
	if f.left < spareFences && f.set(spareFences) == nil {
		f.left = spareFences
	}
}

func (f *fences) set(size int64) error {
	file, err := os.OpenFile(f.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if size == spareFences {
		_, err = file.Write(make([]byte, size))
	} else {
		err = file.Truncate(size)
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// number gives the run its base: it writes it, or takes a byte. If it can do neither the writer
// tries again. A base that is not written leaves the clock out of account, which may be set back
// before the next run.
func (s *store) number(found *restored) error {
	err := s.raise(s.meta.high, found.metas)
	s.tellRoom(err)
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, wal.ErrNoSpace):
		return err
	case found.meta.id != 0:
		s.meta.fence = s.fences.next(found.meta.fence)
		s.queue.fence = s.meta.fence
		if s.fences.take() {
			close(s.numbered)
			return nil // without room it takes no tasks, and can be drained
		}
	}
	s.queue.node.Logger().Warn("pipeline: a durable queue sends no task before its disk has room", "stage", s.queue.route.String(), "folder", s.queue.set.folder, "error", errUnnumbered)
	return nil
}

// numberLate writes the base of a run that has waited for room.
func (s *store) numberLate() {
	err := s.raise(s.meta.high, []uint64{s.meta.id})
	s.tellRoom(err)
	if err != nil && !errors.Is(err, wal.ErrNoSpace) {
		s.freeze(err)
	}
}

// isNumbered reports whether tasks may be sent.
func (s *store) isNumbered() bool {
	select {
	case <-s.numbered:
		return true
	default:
		return false
	}
}
