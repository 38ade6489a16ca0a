//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package wal

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// lockDir locks the folder for this Log. The kernel releases the lock when the process ends.
func lockDir(d folder) (unlock func() error, err error) {
	f, err := d.OpenOrCreate(lockName)
	if err != nil {
		return nil, unsafe(err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s is open in another log or process; close that one or choose another folder", ErrLocked, d.Path(""))
		}
		return nil, fmt.Errorf("lock %s: %w", d.Path(lockName), err)
	}
	return f.Close, nil
}

// noRoom reports whether a write failed for lack of space, so that a retry may succeed later.
func noRoom(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG)
}

// tooLong reports whether a write failed because the file has reached its size limit.
func tooLong(err error) bool { return errors.Is(err, unix.EFBIG) }
