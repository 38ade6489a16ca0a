//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/backoff"
)

const (
	// stagedPrefix is the name prefix of files being written. Readers skip them.
	stagedPrefix = ".staged-"

	// stagedAge is the age after which an unlocked staged file is removed.
	stagedAge = time.Minute

	// claimTries and claimPause are the number and interval of tries to claim an ID whose file exists.
	// A reader that checks a dead file, or another process that removes it, holds its lock for
	// microseconds.
	claimTries = 10
	claimPause = 5 * time.Millisecond
)

// stage writes data to a new locked file under a name that readers skip. The caller must remove or
// rename path, and close the file.
//
// There is no fsync, because an instance does not outlive its process.
func (d directory) stage(data []byte) (path string, f *os.File, err error) {
	path = d.file(stagedPrefix + rand.Text())
	//nolint:gosec // a new name in a directory that has been checked
	f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, filePerm)
	if err != nil {
		return "", nil, err
	}
	err = errors.Join(
		// The umask may have removed bits.
		f.Chmod(filePerm),
		lock(f, unix.LOCK_EX),
	)
	if err == nil {
		_, err = f.Write(data)
	}
	if err != nil {
		_ = os.Remove(path)
		_ = f.Close()
		return "", nil, err
	}
	return path, f, nil
}

// publish makes data appear as name, complete and locked, and returns the file. Its lock shows that
// the process lives. publish removes an existing file of a dead process. The error is
// discovery.ErrDuplicateID if a live process holds the file.
//
// It uses link instead of rename, because link does not replace an existing file: of two processes
// with one ID, only one wins.
func (d directory) publish(ctx context.Context, name string, data []byte) (*os.File, error) {
	if err := d.prepare(); err != nil {
		return nil, err
	}
	staged, f, err := d.stage(data)
	if err != nil {
		return nil, err
	}
	defer os.Remove(staged)
	path := d.file(name)
	for range claimTries {
		if err = os.Link(staged, path); err == nil {
			return f, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			break
		}
		held, evictErr := evict(path)
		if evictErr != nil {
			err = evictErr
			break
		}
		if !held {
			continue
		}
		err = fmt.Errorf("%w: %s is held by a live process", discovery.ErrDuplicateID, path)
		if backoff.Sleep(ctx, claimPause) != nil {
			err = ctx.Err()
			break
		}
	}
	_ = f.Close()
	return nil, err
}

// evict removes the file at path if no live process holds it.
func evict(path string) (held bool, err error) {
	h, _, err := openFile(path)
	if isMissing(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s is in the way, remove it: %w", path, err)
	}
	defer h.close()
	if lock(h.file, unix.LOCK_EX) != nil {
		return true, nil
	}
	// If the file was replaced or removed meanwhile, the caller tries again.
	if !h.current() {
		return false, nil
	}
	return false, os.Remove(path)
}

// replace replaces old, which the caller holds, by a file with data and returns the new file. On
// success the caller must close old, which releases the lock of the old version; no path leads to it
// by then.
func (d directory) replace(ctx context.Context, name string, old *os.File, data []byte) (*os.File, error) {
	path := d.file(name)
	if !leadsTo(path, inode(old)) {
		// The file was removed, so another process may have claimed the name.
		return d.publish(ctx, name, data)
	}
	staged, f, err := d.stage(data)
	if err != nil {
		return nil, err
	}
	if err := os.Rename(staged, path); err != nil {
		_ = os.Remove(staged)
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// withdraw removes the file that the caller holds and then closes it. The order matters: a reader must
// not find an unlocked file.
func (d directory) withdraw(name string, f *os.File) error {
	path := d.file(name)
	var err error
	if leadsTo(path, inode(f)) {
		if err = os.Remove(path); isMissing(err) {
			err = nil
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("withdraw %s: %w", path, err)
	}
	return nil
}

// sweep removes a staged file that a dead process has left.
func (d directory) sweep(name string) {
	path := d.file(name)
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || time.Since(info.ModTime()) < stagedAge {
		return
	}
	if h, _, err := openFile(path); err == nil {
		h.reap()
		h.close()
	}
}
