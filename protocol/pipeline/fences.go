package pipeline

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/wal"
)

// A durable queue never gives out a fence twice, so the fence base of a run is on disk before its
// first task is sent. A disk that is too full for that must not keep the queue from being drained,
// since draining makes room. In that case the run cuts a byte off a file that an earlier run made,
// which needs no room. The length of the file tells how many bases were used without being written.
const (
	// fencesName is the name of the file, in the folder of the log.
	fencesName = "fences"
	// spareFences is the full length of the file: that many runs in a row may find the disk full.
	// The next one waits for room before it sends anything.
	spareFences = 64
)

// fences is the file of spare fence bases.
type fences struct {
	path string
	// left is the length of the file; 0 if there is no file.
	left int64
}

func openFences(folder string) *fences {
	f := &fences{path: filepath.Join(folder, fencesName)}
	if info, err := os.Lstat(f.path); err == nil && info.Mode().IsRegular() {
		f.left = min(info.Size(), spareFences)
	}
	return f
}

// next returns the base after the written one and after all spare ones that may have been used
// since. Without the file, all spare ones may have been used.
func (f *fences) next(written uint64) uint64 {
	return written + fenceStep*uint64(1+spareFences-f.left)
}

// take cuts a byte off the file, so that the next run begins with another base. It reports whether
// that succeeded.
func (f *fences) take() bool {
	if f.left == 0 {
		return false
	}
	f.left--
	return f.set(f.left) == nil
}

// errUnnumbered is why a queue sends nothing while its fence base is not on disk.
var errUnnumbered = link.Errorf(link.ResourceExhausted, "the queue sends no task before its disk has room to write where its fences begin, or one might be given twice")

// fill restores the full length of the file, once a base is written. If there is no room for
// that, fewer later runs may find the disk full.
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

// number gives the run its fence base: it writes the base, or cuts a byte off the file. If it can do
// neither, the writer tries again later. A base that is not written does not use the clock, which
// may be set back before the next run.
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
			// Without room the queue accepts no tasks, but it can be drained.
			return nil
		}
	}
	link.HostOf(s.queue.node).Logger().Warn("pipeline: a durable queue sends no task before its disk has room", "stage", s.queue.route.String(), "folder", s.queue.set.folder, "error", errUnnumbered)
	return nil
}

// numberLate tries to write the base of a run that waits for room.
func (s *store) numberLate() {
	err := s.raise(s.meta.high, []uint64{s.meta.id})
	s.tellRoom(err)
	if err != nil && !errors.Is(err, wal.ErrNoSpace) {
		s.freeze(err)
	}
}

// isNumbered reports whether the run has its fence base, so that tasks may be sent.
func (s *store) isNumbered() bool {
	select {
	case <-s.numbered:
		return true
	default:
		return false
	}
}
