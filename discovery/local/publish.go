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
)

const (
	// stagedPrefix begins the names of files being written. Readers pass over them.
	stagedPrefix = ".staged-"

	// stagedAge is the age after which a staged file without a holder is taken for litter.
	stagedAge = time.Minute

	// A file in the way is looked at claimTries times, claimPause apart: a reader that checks a
	// dead file, or another process that clears it away, holds its lock for microseconds.
	claimTries = 10
	claimPause = 5 * time.Millisecond
)

// stage writes data to a new locked file under a name that readers pass over. The caller
// removes path, or renames it, and closes the file.
//
// There is no fsync: an instance does not outlive its process, let alone the power.
func (d directory) stage(data []byte) (path string, f *os.File, err error) {
	path = d.file(stagedPrefix + rand.Text())
	//nolint:gosec // a new name in a directory that has been checked
	f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, filePerm)
	if err != nil {
		return "", nil, err
	}
	err = errors.Join(
		f.Chmod(filePerm), // whatever the umask took away
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

// publish makes data appear as name, complete and locked, and returns the file, whose lock is
// the sign of life. It clears a dead process's file out of the way. The error is
// discovery.ErrDuplicateID if a live one is there.
//
// Link and not rename, because link refuses to replace: of two processes with one ID, one wins.
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
		if ctxErr := pause(ctx, claimPause); ctxErr != nil {
			err = ctxErr
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
	if !h.current() {
		return false, nil // replaced or removed meanwhile: look again
	}
	return false, os.Remove(path)
}

// replace puts data in the place of old, which the caller holds, and returns the new file. On
// success the caller closes old: only then does the old version lose its lock, and by then no
// path leads to it.
func (d directory) replace(ctx context.Context, name string, old *os.File, data []byte) (*os.File, error) {
	path := d.file(name)
	if !leadsTo(path, inode(old)) {
		// Somebody has removed our file, so the name is free for all.
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

// withdraw removes the file that the caller holds and lets go of it, in this order: a reader must
// not find it without a holder.
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

// sweep removes a staged file that a process left behind when it died.
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

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
