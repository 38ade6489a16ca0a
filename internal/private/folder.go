package private

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Folder is an open folder that was checked. It is safe for concurrent use.
type Folder struct {
	path string
	root *os.Root
}

// Make opens the folder at path, and creates it first if it does not exist. The parent folder must
// exist. Made reports whether Make created the folder.
func Make(path string) (f *Folder, made bool, err error) {
	// Another process may create the folder at the same time. Open checks it in any case.
	switch err := os.Mkdir(path, FolderMode); {
	case err == nil:
		made = true
	case !errors.Is(err, fs.ErrExist):
		return nil, false, err
	}
	f, err = Open(path)
	return f, made, err
}

// Open opens the folder at path. The error is an *Error if the folder is not private to this user.
func Open(path string) (*Folder, error) {
	before, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	// The folder is checked before it is opened because OpenRoot follows symbolic links.
	if err := CheckFolder(path, before, Loose); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	// The opened folder may not be the one that was checked.
	after, err := root.Stat(".")
	if err == nil {
		err = CheckFolder(path, after, Loose)
	}
	if err == nil && !os.SameFile(before, after) {
		err = changed(path)
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return &Folder{path: path, root: root}, nil
}

func changed(path string) error {
	return &Error{Path: path, Problem: "was replaced while it was opened", Fix: "see who does that, and try again"}
}

// Close closes the folder.
func (f *Folder) Close() error { return f.root.Close() }

// Path returns the path of a file in the folder, for messages.
func (f *Folder) Path(name string) string { return filepath.Join(f.path, name) }

// Open opens an existing file. Flag is os.O_RDONLY or os.O_RDWR. The error is an *Error if the file
// is not private to this user.
func (f *Folder) Open(name string, flag int) (*os.File, error) {
	path := f.Path(name)
	before, err := f.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	// The file is checked before it is opened because os.Root follows links within the root, and
	// because opening a pipe blocks.
	if err := checkFile(path, before); err != nil {
		return nil, err
	}
	file, err := f.root.OpenFile(name, flag|openNoWait, 0)
	if err != nil {
		return nil, err
	}
	after, err := file.Stat()
	if err == nil {
		err = checkFile(path, after)
	}
	if err == nil && !os.SameFile(before, after) {
		err = changed(path)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// Create creates a file for reading and writing. The error matches fs.ErrExist if the name exists,
// even as a link.
func (f *Folder) Create(name string) (*os.File, error) {
	return f.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, FileMode)
}

// createTries bounds the attempts on a name that other processes create and remove at the same time.
const createTries = 10

// OpenOrCreate opens a file for reading and writing, and creates it if it does not exist.
func (f *Folder) OpenOrCreate(name string) (*os.File, error) {
	for range createTries {
		file, err := f.Open(name, os.O_RDWR)
		if !errors.Is(err, fs.ErrNotExist) {
			return file, err
		}
		if file, err = f.Create(name); !errors.Is(err, fs.ErrExist) {
			return file, err
		}
	}
	return nil, changed(f.Path(name))
}

// Replace removes whatever has the name, and creates a new file with it. If the name is a link, only
// the link is removed, not its target.
func (f *Folder) Replace(name string) (*os.File, error) {
	for range createTries {
		file, err := f.Create(name)
		if !errors.Is(err, fs.ErrExist) {
			return file, err
		}
		if err := f.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return nil, changed(f.Path(name))
}

// Write replaces a file atomically: readers see the old or the new content. The file is not synced.
// It is first written under a temporary name that begins with prefix.
func (f *Folder) Write(name, prefix string, data []byte) error {
	temp := prefix + rand.Text()
	file, err := f.Create(temp)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Close()); err == nil {
		err = f.Rename(temp, name)
	}
	if err != nil {
		return errors.Join(err, f.Remove(temp))
	}
	return nil
}

// WriteNew creates a file with the given content atomically, and syncs it. It never replaces a file:
// the error then matches fs.ErrExist. The file is first written under a temporary name that begins
// with prefix. It has both names for a moment, and keeps them if the process ends then; ReadOrMake
// removes the second name.
func (f *Folder) WriteNew(name, prefix string, data []byte) error {
	temp := prefix + rand.Text()
	file, err := f.Create(temp)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = f.root.Link(temp, name)
	}
	// A concurrent ReadOrMake may have removed temp already.
	if gone := f.Remove(temp); !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	if err != nil {
		return err
	}
	return f.Sync()
}

// ReadOrMake returns the contents of a file of at most limit bytes. If the file does not exist, it
// is created with the result of fresh. If several processes do so at the same time, one creates the
// file, and all read the same content. A process that ends meanwhile leaves no file or a complete one.
func (f *Folder) ReadOrMake(name string, limit int64, fresh func() []byte) ([]byte, error) {
	prefix := name + "."
	for range createTries {
		data, err := f.Read(name, limit)
		switch unsafe, _ := errors.AsType[*Error](err); {
		case errors.Is(err, fs.ErrNotExist):
			if err := f.WriteNew(name, prefix, fresh()); err != nil && !errors.Is(err, fs.ErrExist) {
				return nil, err
			}
		case unsafe != nil && unsafe.named:
			settled, failed := f.settle(name, prefix)
			if failed != nil || !settled {
				return nil, errors.Join(err, failed)
			}
		default:
			return data, err
		}
	}
	return nil, changed(f.Path(name))
}

// maxSettled bounds the names that settle looks at.
const maxSettled = 4096

// settle removes the temporary name of a file that WriteNew left behind, and reports whether the
// file has only one name now.
func (f *Folder) settle(name, prefix string) (bool, error) {
	file, err := f.Lstat(name)
	if err != nil {
		return false, err
	}
	names, err := f.Names(maxSettled)
	if err != nil {
		return false, err
	}
	for _, other := range names {
		if !strings.HasPrefix(other, prefix) {
			continue
		}
		if info, err := f.Lstat(other); err != nil || !os.SameFile(file, info) {
			continue
		}
		if err := f.Remove(other); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	if file, err = f.Lstat(name); err != nil {
		return false, err
	}
	_, n := ownerOf(file)
	return n == 1, nil
}

// ErrLarger is matched by the error of Read for a file that exceeds the limit.
var ErrLarger = errors.New("larger")

// Read returns the contents of a file of at most limit bytes. For a larger file the error matches
// ErrLarger.
func (f *Folder) Read(name string, limit int64) ([]byte, error) {
	file, err := f.Open(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is %w than %d bytes", f.Path(name), ErrLarger, limit)
	}
	return data, err
}

// Lstat returns the FileInfo of a name; it does not follow a link.
func (f *Folder) Lstat(name string) (fs.FileInfo, error) { return f.root.Lstat(name) }

// Rename renames a file, and replaces an existing file at the new name.
func (f *Folder) Rename(from, to string) error { return f.root.Rename(from, to) }

// Remove removes a file; it does not follow a link.
func (f *Folder) Remove(name string) error { return f.root.Remove(name) }

// Names returns the names in the folder, in no particular order. It returns at most limit names if
// limit is above 0.
func (f *Folder) Names(limit int) ([]string, error) {
	dir, err := f.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(limit)
	// With a limit, Readdirnames returns io.EOF for an empty folder.
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return names, err
}

// Sync makes the names in the folder durable.
func (f *Folder) Sync() error {
	dir, err := f.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
