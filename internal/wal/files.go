package wal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/linkmesh/link/internal/private"
)

// files is the folder of a log. Tests inject faults through it.
type files interface {
	names() ([]string, error)
	// create replaces a file that has the name already.
	create(name string) (file, error)
	open(name string) (file, error)
	rename(from, to string) error
	remove(name string) error
	syncDir() error
	// free returns how much room the disk has left for this process. ok is false if that is unknown.
	free() (bytes int64, ok bool)
}

// file is a file of a log.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error
	// Sync makes the data and the size durable.
	Sync() error
}

// folder implements files.
type folder struct{ *private.Folder }

func (d folder) names() ([]string, error) { return d.Names(0) }

func (d folder) create(name string) (file, error) { return onDisk(d.Replace(name)) }

func (d folder) open(name string) (file, error) { return onDisk(d.Open(name, os.O_RDWR)) }

func (d folder) rename(from, to string) error { return d.Rename(from, to) }

func (d folder) remove(name string) error { return d.Remove(name) }

func (d folder) free() (bytes int64, ok bool) { return freeOf(d.Path("")) }

func (d folder) syncDir() error { return d.Sync() }

// diskFile implements file.
type diskFile struct{ *os.File }

func onDisk(f *os.File, err error) (file, error) {
	if err != nil {
		return nil, unsafe(err)
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

// openDir opens the folder, creates it if it is missing, and checks that only its owner can access
// it.
func openDir(dir string) (folder, error) {
	f, made, err := private.Make(dir)
	if err != nil {
		return folder{}, unsafe(err)
	}
	if made {
		if err := syncFolder(filepath.Dir(dir)); err != nil {
			return folder{}, errors.Join(err, f.Close())
		}
	}
	return folder{f}, nil
}

// unsafe wraps errors about access by other users in ErrUnsafeDir.
func unsafe(err error) error {
	if errors.Is(err, private.ErrUnsafe) {
		return fmt.Errorf("%w: %w", ErrUnsafeDir, err)
	}
	return err
}

// syncFolder makes the directory entries of a folder durable.
func syncFolder(dir string) error {
	f, err := os.Open(dir) //nolint:gosec // the path is the user's own folder
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
