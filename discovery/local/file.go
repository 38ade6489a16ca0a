//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/linkmesh/link/internal/private"
)

// filePerm is the required mode of an instance file.
const filePerm = private.FileMode

// errUnfit means that this package cannot have written a file.
var errUnfit = errors.New("not a file of this registry")

// fileVersion identifies a version of a file without reading it.
type fileVersion struct {
	ino          uint64
	size         int64
	mtime, ctime unix.Timespec
}

func versionOf(st *unix.Stat_t) fileVersion {
	return fileVersion{ino: st.Ino, size: st.Size, mtime: st.Mtim, ctime: st.Ctim}
}

// handle is an instance file opened by a reader.
type handle struct {
	file    *os.File
	path    string
	version fileVersion
}

// openFile opens path without following links or blocking on a FIFO, because anything may be there.
// Unless it is a regular file of this user with the right mode and size, the error is errUnfit; the
// version is returned in that case too.
func openFile(path string) (*handle, fileVersion, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	})
	var st unix.Stat_t
	if err != nil {
		// The error for a symbolic link differs between systems, and other kinds of file cannot be
		// opened at all.
		if statErr := unix.Lstat(path, &st); statErr != nil {
			return nil, fileVersion{}, fmt.Errorf("%s: %w", path, statErr)
		}
		if reason := unfit(&st); reason != "" {
			return nil, versionOf(&st), fmt.Errorf("%w: %s", errUnfit, reason)
		}
		return nil, versionOf(&st), fmt.Errorf("%s: %w", path, err)
	}
	file := os.NewFile(uintptr(fd), path)
	if err := unix.Fstat(fd, &st); err != nil {
		_ = file.Close()
		return nil, fileVersion{}, fmt.Errorf("%s: %w", path, err)
	}
	if reason := unfit(&st); reason != "" {
		_ = file.Close()
		return nil, versionOf(&st), fmt.Errorf("%w: %s", errUnfit, reason)
	}
	return &handle{file: file, path: path, version: versionOf(&st)}, versionOf(&st), nil
}

func unfit(st *unix.Stat_t) string {
	kind := fs.ModeIrregular
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		kind = fs.ModeSymlink
	case unix.S_IFREG:
		kind = 0
	}
	// The link count is not checked: a file has a second name while it is being published.
	if problem := private.FileProblem(kind, fs.FileMode(st.Mode)&0o7777, int(st.Uid)); problem != "" {
		return problem
	}
	if st.Size > maxFile {
		return fmt.Sprintf("has %d bytes, want at most %d", st.Size, maxFile)
	}
	return ""
}

// read returns the contents, at most maxFile+1 bytes: the file may have grown since it was opened.
func (h *handle) read() ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(h.file, maxFile+1))
	if err != nil {
		return nil, err
	}
	return data, nil
}

func (h *handle) close() { _ = h.file.Close() }

// abandoned reports whether no live process holds the file. It takes a shared lock, so that readers do
// not mistake each other for the holder.
func (h *handle) abandoned() bool { return lock(h.file, unix.LOCK_SH) == nil }

// current reports whether the path still leads to this file. If the caller holds the exclusive lock,
// the result stays valid: a process locks a file before it removes or replaces it.
func (h *handle) current() bool { return leadsTo(h.path, h.version.ino) }

// reap removes the file of a dead process, unless another process holds a lock on it.
func (h *handle) reap() {
	if lock(h.file, unix.LOCK_EX) == nil && h.current() {
		_ = os.Remove(h.path)
	}
}

// leadsTo reports whether path is the file with this inode. It ignores the device, because all files
// are in one directory.
func leadsTo(path string, ino uint64) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && st.Ino == ino
}

// inode returns the inode of an open file, or 0 on error.
func inode(f *os.File) uint64 {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0
	}
	return st.Ino
}

// lock takes a flock of kind how without blocking.
func lock(f *os.File, how int) error {
	_, err := retry(func() (struct{}, error) {
		return struct{}{}, unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
	})
	if err != nil {
		return fmt.Errorf("lock %s: %w", filepath.Base(f.Name()), err)
	}
	return nil
}

// retry repeats a system call that a signal interrupted.
func retry[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if !errors.Is(err, unix.EINTR) {
			return v, err
		}
	}
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
