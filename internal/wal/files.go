package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Modes of what the log makes, and the bits that a folder must not have.
const (
	dirPerm  fs.FileMode = 0o700
	filePerm fs.FileMode = 0o600
	dirLoose fs.FileMode = 0o077
)

// files is what the log asks of one folder. The tests put faults between it and the real one.
type files interface {
	names() ([]string, error)
	create(name string) (file, error) // or truncates
	open(name string) (file, error)
	rename(from, to string) error
	remove(name string) error
	syncDir() error
}

// file is what the log asks of a file.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error
	Sync() error // of the data and the size
}

// folder implements files.
type folder string

func (d folder) path(name string) string { return filepath.Join(string(d), name) }

func (d folder) names() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (d folder) create(name string) (file, error) {
	return openFile(d.path(name), os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

func (d folder) open(name string) (file, error) { return openFile(d.path(name), os.O_RDWR) }

func (d folder) rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }

func (d folder) remove(name string) error { return os.Remove(d.path(name)) }

func (d folder) syncDir() error { return syncFolder(string(d)) }

// diskFile implements file.
type diskFile struct{ *os.File }

func openFile(path string, flags int) (file, error) {
	f, err := os.OpenFile(path, flags, filePerm) //nolint:gosec // the path is the user's own folder
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (f diskFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f diskFile) Sync() error { return syncData(f.File) }

// prepareDir makes the folder if it is missing and checks that it is for its owner only.
func prepareDir(dir string) error {
	switch err := os.Mkdir(dir, dirPerm); { //nolint:gosec // the path is the user's own folder
	case err == nil:
		if err := syncFolder(filepath.Dir(dir)); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	info, err := os.Stat(dir) //nolint:gosec // the path is the user's own folder
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%w: %s is not a folder; remove it or choose another path", ErrUnsafeDir, dir)
	}
	if mode := info.Mode().Perm(); mode&dirLoose != 0 {
		return fmt.Errorf("%w: %s has mode %#o, want %#o: others could read or change the log; run: chmod %#o %s",
			ErrUnsafeDir, dir, mode, mode&^dirLoose, mode&^dirLoose, dir)
	}
	return nil
}

// syncFolder makes the names in a folder durable.
func syncFolder(dir string) error {
	f, err := os.Open(dir) //nolint:gosec // the path is the user's own folder
	if err != nil {
		return err
	}
	err = f.Sync()
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
