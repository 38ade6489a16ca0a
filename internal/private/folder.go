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

// Make makes the folder at path, if only its last element is missing, opens it, and says whether it
// made it.
func Make(path string) (f *Folder, made bool, err error) {
	switch err := os.Mkdir(path, FolderMode); {
	case err == nil:
		made = true
	case !errors.Is(err, fs.ErrExist): // another process may make it at this moment; what counts is the check
		return nil, false, err
	}
	f, err = Open(path)
	return f, made, err
}

// Open opens the folder at path. The error is an *Error if it is not this user's alone.
func Open(path string) (*Folder, error) {
	before, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	// Before it is opened, for the links, which opening follows.
	if err := CheckFolder(path, before, Loose); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	after, err := root.Stat(".") // what was opened, which may be something else by now
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

// Close lets go of the folder.
func (f *Folder) Close() error { return f.root.Close() }

// Path returns the path of a file in the folder, for messages.
func (f *Folder) Path(name string) string { return filepath.Join(f.path, name) }

// Open opens a file that is there. flag is os.O_RDONLY or os.O_RDWR. The error is an *Error if the
// file is not this user's alone.
func (f *Folder) Open(name string, flag int) (*os.File, error) {
	path := f.Path(name)
	before, err := f.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	// Before it is opened, as a root follows links within it and opening a pipe waits.
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

// Create makes a file, for reading and writing. The error is fs.ErrExist if there is anything of
// that name, a link included.
func (f *Folder) Create(name string) (*os.File, error) {
	return f.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, FileMode)
}

// createTries bounds how often OpenOrCreate looks again at a name that comes and goes.
const createTries = 10

// OpenOrCreate opens a file for reading and writing, and makes it if it is missing.
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

// Replace makes a new file in the place of whatever is there under the name. A link goes, and what
// it led to stays as it is.
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

// Write puts a whole file in the place of the old one. Readers see the old or the new one. It is
// not synced. prefix begins the name of the new file until it has the other's.
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

// WriteNew makes a file with this content, synced, complete or not at all. It never replaces one:
// the error is fs.ErrExist then. prefix begins the name of the file until it is complete. For a
// moment the file has both names, and for good if the process ends in it: see ReadOrMake.
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
	if gone := f.Remove(temp); !errors.Is(gone, fs.ErrNotExist) { // a reader may have been faster
		err = errors.Join(err, gone)
	}
	if err != nil {
		return err
	}
	return f.Sync()
}

// ReadOrMake returns the contents of a file of at most limit bytes. If there is none it makes it of
// what fresh returns. Of several processes that do so at once one makes it, and all read the same;
// one that ends while it makes the file leaves none, or a whole one.
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

// maxSettled is how many names settle looks at.
const maxSettled = 4096

// settle removes the second name that WriteNew has left to a file, and reports whether the file has
// one name now.
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

// ErrLarger is matched by the error of Read for a file beyond its limit.
var ErrLarger = errors.New("larger")

// Read returns the contents of a file of at most limit bytes.
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

// Lstat says what is there under a name.
func (f *Folder) Lstat(name string) (fs.FileInfo, error) { return f.root.Lstat(name) }

// Rename gives a file another name, in the place of what has it.
func (f *Folder) Rename(from, to string) error { return f.root.Rename(from, to) }

// Remove removes a file, or a link itself.
func (f *Folder) Remove(name string) error { return f.root.Remove(name) }

// Names returns the names in the folder, in no order, at most limit if that is above 0.
func (f *Folder) Names(limit int) ([]string, error) {
	dir, err := f.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(limit)
	if errors.Is(err, io.EOF) {
		err = nil // an empty folder, with a limit
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
